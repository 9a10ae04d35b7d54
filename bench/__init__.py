"""`make bench`: calls, CPU and memory of the functions and of their peers, side by side on strict moto, in one run.

`contenders` says who does what, `world` what they find, `meter` and `lambdas` measure a fresh process, `cold` and
`warm` the functions alone, `surges` many launches at once, `package` the layer; `page` and `plot` write what came of
it into docs/performance.md.
"""
