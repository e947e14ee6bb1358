"""A result follows every table it was read from, wherever the statement names it."""

from decimal import Decimal

from sqlalchemy import Select, exists, func, select, union, union_all
from sqlalchemy.orm import aliased

from tests.conformance.models import FREE_ID, Category, Product, Review, Tag, product_tags
from tests.harness import Env

JOINED = select(Product.name, Category.name).join(Product.category).order_by(Product.id)


def test_the_target_of_a_join(env: Env) -> None:
    """A changed row on the other side of a join is seen."""
    with env.change_of(JOINED), env.transaction() as session:
        session.get_one(Category, 1).name = "paper"


def test_the_nullable_side_of_an_outer_join(env: Env) -> None:
    """A row that an outer join did not find before is seen once it is there."""
    stmt = select(Product.name, Review.stars).outerjoin(Product.reviews).order_by(Product.id, Review.id)
    with env.change_of(stmt), env.transaction() as session:
        session.add(Review(product_id=3, stars=1))


def test_the_table_of_an_in_subquery(env: Env) -> None:
    """A row that a subquery in IN selects is seen."""
    stmt = select(Product.name).where(Product.id.in_(select(Review.product_id).where(Review.stars > 4)))
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Review, 3).stars = 5


def test_the_table_of_an_exists(env: Env) -> None:
    """A row that EXISTS asks for is seen."""
    stmt = select(Product.name).where(exists().where(Review.product_id == Product.id)).order_by(Product.id)
    with env.change_of(stmt), env.transaction() as session:
        session.add(Review(product_id=2, stars=2))


def test_the_table_of_any_on_a_relationship(env: Env) -> None:
    """`relationship.any()` reads the related table and the association table."""
    stmt = select(Product.name).where(Product.tags.any(Tag.name == "new")).order_by(Product.id)
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Tag, 1).name = "old"


def test_the_association_table_of_any(env: Env) -> None:
    """A new pair in the association table is seen."""
    stmt = select(Product.name).where(Product.tags.any(Tag.name == "new")).order_by(Product.id)
    with env.change_of(stmt), env.transaction() as session:
        session.execute(product_tags.insert().values(product_id=4, tag_id=1))


def test_the_table_of_a_scalar_subquery_in_the_select_list(env: Env) -> None:
    """A scalar subquery's table is a dependency."""
    stars = select(func.max(Review.stars)).where(Review.product_id == Product.id).scalar_subquery()
    with env.change_of(select(Product.name, stars).order_by(Product.id)), env.transaction() as session:
        session.add(Review(product_id=2, stars=1))


def test_the_table_of_a_scalar_subquery_in_order_by(env: Env) -> None:
    """A table that only ORDER BY reads is a dependency."""
    stars = select(func.count(Review.id)).where(Review.product_id == Product.id).scalar_subquery()
    with env.change_of(select(Product.name).order_by(stars.desc(), Product.id)), env.transaction() as session:
        session.add_all([Review(product_id=2, stars=1) for _ in range(3)])


def test_the_table_of_a_cte(env: Env) -> None:
    """A table inside a CTE is a dependency."""
    good = select(Review.product_id).where(Review.stars >= 4).cte("good")
    stmt = select(Product.name).join(good, good.c.product_id == Product.id).order_by(Product.id)
    with env.change_of(stmt), env.transaction() as session:
        session.add(Review(product_id=2, stars=5))


def test_the_table_of_a_recursive_cte(env: Env) -> None:
    """A new leaf of a tree is seen through a recursive CTE."""
    tree = select(Category.id, Category.name).where(Category.id == 1).cte("tree", recursive=True)
    below = aliased(Category)
    tree = tree.union_all(select(below.id, below.name).join(tree, below.parent_id == tree.c.id))
    with env.change_of(select(tree.c.name).order_by(tree.c.id)), env.transaction() as session:
        session.add(Category(id=FREE_ID, name="crime", parent_id=3))


def test_each_table_of_a_union(env: Env) -> None:
    """Every part of a UNION counts."""

    def names() -> Select[tuple[str]]:
        both = union(select(Product.name.label("name")), select(Tag.name.label("name"))).subquery()
        return select(both.c.name).order_by(both.c.name)

    with env.change_of(names()), env.transaction() as session:
        session.add(Tag(id=FREE_ID, name="aaa"))
    with env.change_of(names()), env.transaction() as session:
        session.get_one(Product, 1).name = "atlas II"


def test_a_union_at_the_top(env: Env) -> None:
    """A compound select is cached and followed like a select."""
    stmt = union_all(select(Product.name), select(Tag.name)).order_by("name")
    with env.change_of(stmt), env.transaction() as session:
        session.add(Tag(id=FREE_ID, name="aaa"))


def test_an_alias_of_the_same_table(env: Env) -> None:
    """A table that is read twice under two names counts under both."""
    other = aliased(Product)
    stmt = select(Product.name, other.name).join(other, other.id == Product.id + 1).where(Product.id == 1)
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Product, 2).name = "changed"


def test_a_pinned_row_joined_with_an_unpinned_one(env: Env) -> None:
    """One appearance pinned by primary key does not hide another appearance of the table that is not."""
    other = aliased(Product)
    cheaper = select(func.count(other.id)).where(other.price < Product.price).scalar_subquery()
    stmt = select(Product.name, cheaper).where(Product.id == 1)
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Product, 4).price = Decimal(500)


def test_a_pin_on_the_left_of_an_outer_join_does_not_hold_for_the_right(env: Env) -> None:
    """`LEFT JOIN … ON a.id = 1` restricts no row of the left side."""
    stmt = select(Product.name, Review.id).join(
        Review, (Review.product_id == Product.id) & (Product.id == 1), isouter=True
    ).order_by(Product.id, Review.id)  # fmt: skip
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Product, 2).name = "changed"


def test_a_pin_below_or_does_not_hold(env: Env) -> None:
    """`id = 1 OR name = …` restricts nothing to id 1."""
    stmt = select(Product.name, Product.stock).where((Product.id == 1) | (Product.name == "chess")).order_by(Product.id)
    with env.change_of(stmt), env.transaction() as session:
        session.get_one(Product, 3).stock = 1


def test_a_negated_pin_does_not_hold(env: Env) -> None:
    """`NOT (id = 1)` and `id != 1` read every other row."""
    for condition in (~(Product.id == 1), Product.id != 1, ~Product.id.in_([1])):
        stmt = select(Product.id, Product.stock).where(condition).order_by(Product.id)
        with env.change_of(stmt), env.transaction() as session:
            session.get_one(Product, 3).stock += 1
