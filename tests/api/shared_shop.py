"""One shop for all tests of a module, which leave it as it is or don't mind what others have left."""

import pytest

from tests.api.scene import Scene
from tests.conftest import Client


def shared_shop(**of_shop):
    """The fixtures `shop`, `client` and `scene` for a module: `shop, client, scene = shared_shop()`."""

    @pytest.fixture(scope="module")
    def shop(tmp_path_factory, new_shop):
        shop = new_shop(tmp_path_factory.mktemp("shop"), **of_shop)
        yield shop
        shop.close()

    @pytest.fixture(scope="module")
    def client(shop):
        return Client(shop)

    @pytest.fixture(scope="module")
    def scene(client):
        return Scene(client)

    return shop, client, scene
