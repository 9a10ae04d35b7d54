"""Postfix behind classic load balancers sees its clients again, by tag, and never bounces a mail on the way.

Reading order: `tag` and `settings` say what is wanted, `fleet` what is there, `plan` what follows from the two;
`evidence` says which answers are believed; `mind` and `hand` carry it out through the gateways `elb`, `autoscaling`,
`ec2`, `ssm`, `sqs` and `ledger`. The law of the house: where a balancer sends the header, Postfix expects it.
"""
