"""What a SELECT is made of, as far as SQLAlchemy does not say so in public."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import bindparam
from sqlalchemy.orm.context import _MapperEntity
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import FromClause, Select

__all__ = [
    "ObservesSelects",
    "group_by",
    "has_hints",
    "is_cut_off",
    "is_distinct",
    "loads_entities_only",
    "order_by",
    "picks_rows",
    "renamed",
    "result_columns",
    "source_columns",
    "takes_some_rows",
    "where_criteria",
]


def where_criteria(select: Select[Any]) -> Sequence[Any]:
    """Return the conditions of WHERE, joined by AND."""
    return select._where_criteria


def has_hints(select: Select[Any]) -> bool:
    """Return whether a SELECT has texts of ``with_hint`` or ``with_statement_hint``, for whatever database."""
    return bool(select._hints or select._statement_hints)


_EXTENSIONS = ("_post_select_clause", "_pre_columns_clause", "_post_criteria_clause", "_post_body_clause")


def takes_some_rows(select: Select[Any]) -> bool:
    """Return whether a SELECT picks rows by what others there are: LIMIT, OFFSET, FETCH, DISTINCT ON, HAVING of one group.

    Syntax extensions (2.1) may do anything.
    """
    return is_cut_off(select) or picks_rows(select)


def is_cut_off(select: Select[Any]) -> bool:
    """Return whether a SELECT returns some of its rows by their place among all: LIMIT, OFFSET, FETCH."""
    clauses = (select._limit_clause, select._offset_clause, select._fetch_clause)
    return any(clause is not None for clause in clauses)


def picks_rows(select: Select[Any]) -> bool:
    """Return whether a SELECT picks rows in any other way by what others there are."""
    extensions = (getattr(select, name, None) for name in _EXTENSIONS)
    whole = bool(select._having_criteria) and not select._group_by_clauses
    return whole or bool(select._distinct_on) or any(clause is not None for clause in extensions)


def is_distinct(select: Select[Any]) -> bool:
    """Return whether equal rows of a SELECT are made one."""
    return bool(select._distinct)


def order_by(select: Select[Any]) -> Sequence[Any]:
    """Return the expressions of ORDER BY."""
    return select._order_by_clauses


def group_by(select: Select[Any]) -> Sequence[Any]:
    """Return the expressions of GROUP BY."""
    return select._group_by_clauses


def source_columns(column: Any) -> Sequence[Any]:
    """Return the expressions that a column of a subquery or an alias stands for: a label and what it labels, or one of each SELECT."""
    return cast("Sequence[Any]", column._proxies)


def renamed(bind: BindParameter[Any], name: str) -> BindParameter[Any]:
    """Return a parameter that is the like of another, of another name and without a value."""
    found: BindParameter[Any] = bindparam(
        name, type_=bind.type, expanding=bind.expanding, literal_execute=bind.literal_execute, required=True
    )
    found.expand_op = bind.expand_op  # says what an empty list means
    return found


def loads_entities_only(compiled: Any) -> bool:
    """Return whether a compiled SELECT loads whole entities and nothing besides."""
    entities: Sequence[Any] = getattr(getattr(compiled, "compile_state", None), "_entities", ())
    return bool(entities) and all(isinstance(entity, _MapperEntity) for entity in entities)


def result_columns(compiled: Any) -> Sequence[Any]:
    """Return what stands at each place of a row of a compiled SELECT, without the label it is rendered with.

    ``None`` where that is not told: a column that is there for the second time.
    """
    return [_unlabelled(entry.objects[0]) if entry.objects else None for entry in compiled._result_columns]


def _unlabelled(selected: Any) -> Any:
    while getattr(selected, "__visit_name__", None) == "label":
        selected = selected.element
    return None if isinstance(selected, str) else selected


class ObservesSelects:
    """Mixed into a statement compiler, is told of each SELECT as it is rendered: Core form, FROM after correlation."""

    def observe_select(self, select: Select[Any], froms: Sequence[FromClause]) -> None:
        """Called once for each rendered SELECT body."""

    def _compose_select_body(
        self, text: Any, select: Any, compile_state: Any, inner_columns: Any, froms: Any, *rest: Any
    ) -> Any:
        self.observe_select(select, froms)
        return super()._compose_select_body(text, select, compile_state, inner_columns, froms, *rest)  # type: ignore[misc]
