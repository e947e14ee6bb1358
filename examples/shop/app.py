"""The application: ``make example``, then http://127.0.0.1:8000/docs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from examples.shop import queries
from examples.shop.database import cache, engine, get_session, prepare
from examples.shop.models import Order, Product
from examples.shop.queries import BestSeller, CategoryStats, ProductOut, Products
from rowstamp import AsyncCache
from rowstamp.contrib.fastapi import CacheMiddleware, cache_of, lifespan

__all__ = ["app"]

SessionDep = Annotated[AsyncSession, Depends(get_session)]
CacheDep = Annotated[AsyncCache, Depends(cache_of)]


@asynccontextmanager
async def prepared(_app: object) -> AsyncGenerator[None]:
    """Prepare the database, and let go of it in the end."""
    await prepare()
    yield
    await engine.dispose()


app = FastAPI(title="A shop that caches", lifespan=lifespan(cache, engine, inner=prepared))
app.add_middleware(CacheMiddleware, cache=cache, honour_no_cache=True)


class PriceChange(BaseModel):
    """By how many percent prices change."""

    percent: int = Field(ge=-90, le=900)


class Purchase(BaseModel):
    """What somebody buys."""

    product_id: int
    pieces: int = Field(ge=1, le=100)


@app.get("/", response_model=list[ProductOut])
async def home(session: SessionDep) -> Any:
    """A cached statement with a tag."""
    return await queries.home(session)


@app.get("/products")
async def products(session: SessionDep, category_id: int, after: str | None = None) -> dict[str, Any]:
    """Pages by cursor, from the repository."""
    page = await Products(session).page(Product.category_id == category_id, size=20, after=after)
    return {"items": [ProductOut.model_validate(each) for each in page.items], "next": page.next}


@app.get("/products/{product_id}", response_model=ProductOut)
async def product(session: SessionDep, product_id: int) -> Any:
    """A lookup, from the repository. That there is no such product is cached too."""
    found = await Products(session).get(product_id)
    if found is None:
        raise HTTPException(404, f"there is no product {product_id}")
    return found


@app.patch("/products/{product_id}", response_model=ProductOut)
async def change(session: SessionDep, product_id: int, price: Decimal | None = None, stock: int | None = None) -> Any:
    """An update. Its commit ends exactly the results that it changes; there is nothing to remember."""
    values = {name: value for name, value in (("price", price), ("stock", stock)) if value is not None}
    found = await Products(session).update(product_id, **values)
    if found is None:
        raise HTTPException(404, f"there is no product {product_id}")
    await session.commit()
    return found


@app.get("/categories/{category_id}/stats")
async def category_stats(session: SessionDep, category_id: int) -> CategoryStats:
    """A cached function."""
    found = await queries.category_stats(session, category_id)
    if found is None:
        raise HTTPException(404, f"there is no category {category_id}")
    return found


@app.post("/categories/{category_id}/prices")
async def change_prices(session: SessionDep, category_id: int, change: PriceChange) -> dict[str, int]:
    """A bulk update, noticed like any other."""
    price = func.round(Product.price * (100 + change.percent) / 100, 2)
    result: Any = await session.execute(update(Product).where(Product.category_id == category_id).values(price=price))
    await session.commit()
    return {"changed": result.rowcount}


@app.get("/best-sellers")
async def best_sellers(session: SessionDep, limit: int = 5) -> list[BestSeller]:
    """A cached aggregate over a join."""
    return await queries.best_sellers(session, limit)


@app.post("/orders", status_code=201)
async def order(session: SessionDep, purchase: Purchase) -> dict[str, int]:
    """Two writes in one transaction."""
    found = await session.get(Product, purchase.product_id, with_for_update=True)
    if found is None or found.stock < purchase.pieces:
        raise HTTPException(409, "not that many in stock")
    found.stock -= purchase.pieces
    bought = Order(product_id=found.id, pieces=purchase.pieces, paid=found.price * purchase.pieces)
    session.add(bought)
    await session.commit()
    return {"order": bought.id}


@app.post("/renew-home", status_code=204)
async def renew_home(cache: CacheDep) -> None:
    """Make everything under a tag unusable, however much it is."""
    await cache.invalidate(tags=[queries.HOME])


@app.get("/cache")
async def figures(cache: CacheDep) -> dict[str, Any]:
    """What the cache has done so far."""
    stats = cache.stats()
    return {
        "hits": stats.hits,
        "misses": stats.misses,
        "hit_ratio": round(stats.hit_ratio, 3),
        "invalidations": stats.invalidations,
        "bypasses": dict(stats.bypasses),
        "store_errors": stats.store_errors,
        "seconds_of_loading_saved": round(stats.load_time_saved, 3),
    }
