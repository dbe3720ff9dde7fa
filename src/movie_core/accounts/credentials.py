"""The user of a request, and the user's password: verification, rules for new ones, hashing."""

from movie_core.accounts.keyring import Keyring
from movie_core.accounts.password_rules import check_password, is_hashable, normalise_password
from movie_core.accounts.rules import AccountRules
from movie_core.accounts.sessions import Caller
from movie_core.accounts.users import Address, PendingRegistration, User, Username
from movie_core.errors import InvalidToken
from movie_core.ports import PasswordHasher, PasswordStrength, UserRepo


class Credentials:
    """Finds the user of a request; checks, hashes and verifies passwords, normalised to NFC.

    Methods that hash or verify raise `Busy` if too many passwords wait for hashing.
    """

    def __init__(
        self,
        users: UserRepo,
        hasher: PasswordHasher,
        strength: PasswordStrength,
        keyring: Keyring,
        rules: AccountRules,
    ) -> None:
        self._users = users
        self._hasher = hasher
        self._strength = strength
        self._keyring = keyring
        self._rules = rules

    async def user_of(self, caller: Caller) -> User:
        """Returns the user of a request. Raises `InvalidToken` if it was deleted or deactivated."""
        user = await self._users.find(caller.user_id)
        if user is None or not user.is_active:
            raise InvalidToken("the user was deleted or deactivated")
        return user

    async def verify(self, password: str, password_hash: str | None, address_key: str) -> bool:
        """Returns whether the hash belongs to the password. Pass None if there is no user: the work is the same, and
        the result False."""
        password = normalise_password(password)
        return await self._hasher.verify(password, password_hash if is_hashable(password) else None, queue=address_key)

    def check(
        self, password: str, address: Address | None, username: Username | None, *, field: str = "password"
    ) -> None:
        """Raises `WeakPassword` for a new password that violates a rule. None stands for an invalid address or
        username."""
        check_password(
            normalise_password(password),
            self._strength,
            min_length=self._rules.password_min,
            address=address,
            username=username,
            field=field,
        )

    async def hash_new(self, password: str, user: User | PendingRegistration, *, field: str = "password") -> str:
        """Checks and hashes a new password of a user. Raises `WeakPassword`."""
        self.check(password, user.address, user.username, field=field)
        return await self._hasher.hash(normalise_password(password), queue=user.address.key)

    async def hash_registration(self, password: str, address: Address, username: Username) -> str:
        """Hashes the password of a registration; call `check` first. The salt is derived from mailbox and username, so
        that `RegistrationRepo.register` recognises a repeated registration by its hash."""
        salt = self._keyring.salt(address.mailbox, username.key)
        return await self._hasher.hash(normalise_password(password), salt=salt, queue=address.key)

    async def rehash(self, password: str, user: User) -> str | None:
        """Returns a new hash of the user's verified password; None if the stored hash is not outdated."""
        if not self._hasher.is_outdated(user.password_hash):
            return None
        return await self._hasher.hash(normalise_password(password), queue=user.address.key)
