"""DynamoDB tables with the key `id`: conditional writes and consistent reads of up to 100 items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.account.conditions import holds, updated
from tests.account.wire import Refused

Item = dict[str, Any]
NONE: Mapping[str, Any] = {}


class DynamoDB:
    """The tables of the account."""

    operations = ("CreateTable", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem")

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Item]] = {}

    def create_table(self, *, TableName: str, KeySchema: Any, AttributeDefinitions: Any, BillingMode: str) -> Any:
        self.tables[TableName] = {}
        return {}

    def _table(self, name: str) -> dict[str, Item]:
        if name not in self.tables:
            raise Refused("ResourceNotFoundException", "Requested resource not found")
        return self.tables[name]

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> Any:
        [(name, request)] = RequestItems.items()
        ids = [key["id"]["S"] for key in request["Keys"]]
        if len(ids) > 100:
            raise Refused("ValidationException", "Too many items requested for the BatchGetItem call")
        if len(set(ids)) < len(ids):
            raise Refused("ValidationException", "Provided list of item keys contains duplicates")
        table = self._table(name)
        return {"Responses": {name: [dict(table[i]) for i in ids if i in table]}, "UnprocessedKeys": {}}

    def put_item(
        self,
        *,
        TableName: str,
        Item: Item,
        ConditionExpression: str = "",
        ExpressionAttributeValues: Mapping[str, Any] = NONE,
        ExpressionAttributeNames: Mapping[str, str] = NONE,
    ) -> Any:
        table, row = self._table(TableName), Item["id"]["S"]
        _check(ConditionExpression, table.get(row, {}), ExpressionAttributeValues, ExpressionAttributeNames)
        table[row] = dict(Item)
        return {}

    def delete_item(
        self,
        *,
        TableName: str,
        Key: Item,
        ConditionExpression: str = "",
        ExpressionAttributeValues: Mapping[str, Any] = NONE,
        ExpressionAttributeNames: Mapping[str, str] = NONE,
    ) -> Any:
        table, row = self._table(TableName), Key["id"]["S"]
        _check(ConditionExpression, table.get(row, {}), ExpressionAttributeValues, ExpressionAttributeNames)
        table.pop(row, None)
        return {}

    def update_item(
        self,
        *,
        TableName: str,
        Key: Item,
        UpdateExpression: str,
        ExpressionAttributeValues: Mapping[str, Any] = NONE,
        ExpressionAttributeNames: Mapping[str, str] = NONE,
    ) -> Any:
        table, row = self._table(TableName), Key["id"]["S"]
        old = table.get(row, Key)
        table[row] = updated(UpdateExpression, old, ExpressionAttributeValues, ExpressionAttributeNames)
        return {}


def _check(expression: str, item: Item, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
    if expression and not holds(expression, item, values, names):
        raise Refused("ConditionalCheckFailedException", "The conditional request failed")
