"""A bridge on mautrix that answers in encrypted rooms, with all that the library does for encryption by transactions.

Nothing of the library is changed: its command line writes the registration, its handlers take transactions, its
encryption manager signs in, uploads keys, decrypts and encrypts.
"""

from mautrix.bridge import BaseBridgeConfig, BaseMatrixHandler, Bridge
from mautrix.types import EventType, MessageType, TextMessageEventContent
from mautrix.util.async_db import UpgradeTable

TABLES = UpgradeTable()


@TABLES.register(description="rooms")
async def rooms(connection):
    # The library reads from it which rooms are encrypted.
    await connection.execute("CREATE TABLE portal (mxid TEXT PRIMARY KEY, encrypted BOOLEAN NOT NULL DEFAULT false)")


class Portal:
    """A room that the bot is in."""

    is_direct = False

    def __init__(self, database, mxid, encrypted):
        self.database, self.mxid, self.encrypted = database, mxid, encrypted

    async def save(self):
        query = "INSERT INTO portal VALUES ($1, $2) ON CONFLICT (mxid) DO UPDATE SET encrypted=excluded.encrypted"
        await self.database.execute(query, self.mxid, self.encrypted)


class Known:
    """Somebody who speaks to the bot."""

    async def is_logged_in(self):
        return False


class Handler(BaseMatrixHandler):
    def __init__(self, bridge):
        self.user_id_prefix, self.user_id_suffix = "@bot_", f":{bridge.config['homeserver.domain']}"
        super().__init__(bridge=bridge)

    async def accept_bot_invite(self, room_id, inviter):
        await self.az.intent.join_room(room_id)
        await self.az.intent.get_members(room_id)
        await self.az.intent.get_state_event(room_id, EventType.ROOM_ENCRYPTION)
        await Portal(self.bridge.db, room_id, True).save()

    async def handle_ephemeral_event(self, event):
        await super().handle_ephemeral_event(event)
        self.log.info(f"told of {event.type}")

    async def handle_message(self, event, was_encrypted=False):
        if not was_encrypted or event.content.msgtype != MessageType.TEXT:
            return
        answer = TextMessageEventContent(msgtype=MessageType.NOTICE, body=f"承りました: {event.content.body}")
        kind, content = await self.e2ee.encrypt(event.room_id, EventType.ROOM_MESSAGE, answer)
        await self.az.intent.send_message_event(event.room_id, kind, content)


class Bot(Bridge):
    module, name, command, version = "encrypted_bot", "encrypted-bot", "encrypted_bot.py", "1"
    description, repo_url = "Answers in encrypted rooms.", ""
    config_class, matrix_class, upgrade_table = BaseBridgeConfig, Handler, TABLES

    def load_and_update_config(self):
        # The way writes the whole configuration: there is no older one to bring up to date.
        self.config.load()

    async def get_user(self, user_id, create=True):
        return Known()

    async def get_portal(self, room_id):
        row = await self.db.fetchrow("SELECT mxid, encrypted FROM portal WHERE mxid=$1", room_id)
        return Portal(self.db, row["mxid"], bool(row["encrypted"])) if row else None

    async def get_puppet(self, user_id, create=False):
        return None

    async def get_double_puppet(self, user_id):
        return None

    def is_bridge_ghost(self, user_id):
        return user_id.startswith("@bot_")

    async def count_logged_in_users(self):
        return 0


if __name__ == "__main__":
    Bot().run()
