"""`MemorySessionRepo`, in addition to the contract of its port."""

from datetime import timedelta

from movie_core import memory
from movie_core.accounts.keyring import token_hash
from movie_core.testing import NOW


async def test_a_repeated_rotation_with_successors_of_other_secrets_fails_and_ends_no_session() -> None:
    world = memory.deployment(clock=lambda: NOW)
    await world.registration.register("ann@example.com", "ann", "copper lantern walks home")
    user = await world.user_management.set_active("ann@example.com", True)
    pair = await world.session_tokens.start(user, "a device")
    await world.session_tokens.refresh(pair.refresh)
    expires_at = NOW + timedelta(days=1)
    assert await world.session_repo.rotate(token_hash(pair.refresh), ["foreign"], NOW, expires_at) is None
    assert len(await world.session_repo.list_for_user(user.id)) == 1
