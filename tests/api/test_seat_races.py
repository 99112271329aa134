"""A hundred requests for ten seats at the same moment, over real HTTP."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx

from core.seats import assigned_users
from tests.conftest import serving


def test_a_hundred_requests_take_ten_seats_and_ninety_are_told_why_not(client, shop):
    subscription, users = shop.buy("gotoassist-standard", seats=10), [shop.add_user().id for _ in range(100)]
    at_once = Barrier(25)

    def take(user):
        at_once.wait()
        answer = http.put(f"/v1/subscriptions/{subscription.id}/seats/{user}")
        return user, answer.status_code, answer.json().get("type")

    headers = {"Authorization": f"Bearer {client.secret}"}
    with (
        serving(shop) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60) as http,
        ThreadPoolExecutor(25) as threads,
    ):
        answers = list(threads.map(take, users))

    assert Counter(answer[1:] for answer in answers) == {(200, None): 10, (409, "/problems/no-seat-left"): 90}
    assert sorted(user for user, status, _ in answers if status == 200) == sorted(assigned_users(shop.engine, subscription))
    assert len(shop.events("seat.assigned")) == shop.show(subscription)["seats_assigned"] == 10
