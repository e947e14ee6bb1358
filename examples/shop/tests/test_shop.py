"""What the application answers, and from where."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.once]

HIT, MISS = "hit", "fwd=miss"


async def get(client: httpx.AsyncClient, path: str, **headers: str) -> tuple[Any, str]:
    """Return what is answered, and what it was served from."""
    answer = await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status_code == 200, answer.text
    return answer.json(), answer.headers.get("cache-status", "").removeprefix("rowstamp; ").partition(";")[0]


@pytest.mark.parametrize(
    "path", ["/", "/products?category_id=2", "/products/7", "/categories/2/stats", "/best-sellers?limit=3"]
)
async def test_the_second_answer_is_the_first_one_from_the_cache(client: httpx.AsyncClient, path: str) -> None:
    fresh, _ = await get(client, path, cache_control="no-cache")
    await get(client, path)
    again, status = await get(client, path)
    assert status == HIT
    assert again == fresh


async def test_an_update_is_seen_by_every_result_that_it_changes(client: httpx.AsyncClient) -> None:
    before, _ = await get(client, "/categories/1/stats")
    product, _ = await get(client, "/products/3")
    assert product["category_id"] == 1
    await client.patch("/products/3", params={"stock": product["stock"] + 5})
    after, status = await get(client, "/categories/1/stats")
    assert status == MISS
    assert after["pieces_in_stock"] == before["pieces_in_stock"] + 5
    assert (await get(client, "/products/3"))[0]["stock"] == product["stock"] + 5


async def test_a_bulk_update_is_seen(client: httpx.AsyncClient) -> None:
    before, _ = await get(client, "/categories/2/stats")
    answer = await client.post("/categories/2/prices", json={"percent": 100})
    assert answer.json() == {"changed": 100}
    after, _ = await get(client, "/categories/2/stats")
    assert float(after["highest_price"]) == 2 * float(before["highest_price"])


async def test_an_order_is_seen_in_the_aggregate(client: httpx.AsyncClient) -> None:
    await client.patch("/products/11", params={"stock": 50})
    await get(client, "/best-sellers")
    assert (await client.post("/orders", json={"product_id": 11, "pieces": 40})).status_code == 201
    found, status = await get(client, "/best-sellers")
    assert (found[0]["product_id"], status) == (11, MISS)
    assert (await client.post("/orders", json={"product_id": 11, "pieces": 40})).status_code == 409


async def test_that_there_is_no_such_category_is_cached_too(client: httpx.AsyncClient) -> None:
    statuses = [await client.get("/categories/99/stats") for _ in range(2)]
    assert [each.status_code for each in statuses] == [404, 404]
    assert "hit" in statuses[1].headers["cache-status"]


async def test_a_tag_ends_the_home_page(client: httpx.AsyncClient) -> None:
    await get(client, "/")
    assert (await get(client, "/"))[1] == HIT
    assert (await client.post("/renew-home")).status_code == 204
    assert (await get(client, "/"))[1] == MISS


async def test_pages_follow_one_another(client: httpx.AsyncClient) -> None:
    seen: list[int] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        page, _ = await get(client, f"/products?category_id=1&after={page['next']}".removesuffix("&after="))
        seen += [each["id"] for each in page["items"]]
    assert seen == list(range(3, 301, 3))


async def test_a_request_may_ask_for_the_database(client: httpx.AsyncClient) -> None:
    await get(client, "/products/5")
    assert (await get(client, "/products/5", cache_control="max-age=0, no-cache"))[1] == "fwd=request"


async def test_the_figures_are_told(client: httpx.AsyncClient) -> None:
    found, _ = await get(client, "/cache")
    assert found["hits"] > 0
    assert found["invalidations"] > 0
