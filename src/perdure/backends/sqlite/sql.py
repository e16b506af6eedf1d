"""The statements of this backend as constants. Their text and descriptions live in `statements/`.

A constant text per statement is what lets SQLite keep it prepared.
"""

from __future__ import annotations

from importlib.resources import files

from perdure.backends.sqltext import load

STATEMENTS = load(files("perdure.backends.sqlite") / "statements")


def _text(name: str) -> str:
    return STATEMENTS[name].text


STORE_ID = _text("store_id")
TOO_NEW = _text("too_new")
READ_LATEST = _text("read_latest")
READ_GENERATION = _text("read_generation")
INSERT_INVOCATION = _text("insert_invocation")
INSERT_CLAIMED = _text("insert_claimed")
INSERT_CALL = _text("insert_call")
QUERY_PAGE = _text("query_page")
QUERY_LIVE = _text("query_live")
QUERY_CHILDREN = _text("query_children")
CREATED_AT = _text("created_at")

NEXT_QUEUE = _text("next_queue")
NEXT_PRIORITY = _text("next_priority")
DUE = _text("due")
NEXT_DUE = _text("next_due")
NEXT_QUEUE_IN_TREE = _text("next_queue_in_tree")
NEXT_PRIORITY_IN_TREE = _text("next_priority_in_tree")
DUE_IN_TREE = _text("due_in_tree")
NEXT_DUE_IN_TREE = _text("next_due_in_tree")
ABANDONED = _text("abandoned")
QUEUE_USAGE = _text("queue_usage")
KEY_USAGE = _text("key_usage")
RECENT_CLAIMS = _text("recent_claims")
LOG_CLAIMS = _text("log_claims")
FORGET_CLAIMS = _text("forget_claims")
QUEUES = _text("queues")
GRANT = _text("grant")
READ_GRANTED = _text("read_granted")
RENEW = _text("renew")
SEIZE = _text("seize")
RESUME = _text("resume")
PAST_DEADLINE = _text("past_deadline")
OWNERS = _text("owners")

ADVANCE = _text("advance")
FIND = _text("find")
FENCE = _text("fence")
ANY_TAKEN = _text("any_taken")
APPEND = _text("append")
CONSUME = _text("consume")
SET_DATA = _text("set_data")
WATCHED = _text("watched")
WATCH = _text("watch")
WATCHERS = _text("watchers")
UNWATCH = _text("unwatch")
DELIVER = _text("deliver")
WAKE = _text("wake")
SUSPEND = _text("suspend")
FINISH = _text("finish")
DROP_INBOX = _text("drop_inbox")
RELEASE = _text("release")
RETRY_LATER = _text("retry_later")
STOP = _text("stop")

RECEIVER = _text("receiver")
WAS_ACCEPTED = _text("was_accepted")
ACCEPT = _text("accept")
POST = _text("post")

READ_JOURNAL = _text("read_journal")
READ_INBOX = _text("read_inbox")
READ_DATA = _text("read_data")
REGISTER_GET = _text("register_get")
REGISTER_PUT = _text("register_put")
REGISTER_RAISE = _text("register_raise")

SERVER_LIST = _text("server_list")
PUBLISH = _text("publish")
HAS_ROWS = _text("has_rows")
WATCH_FOREIGN = _text("watch_foreign")
FOREIGN_ASKS = _text("foreign_asks")
FOREIGN_ENDS = _text("foreign_ends")
WATCHED_FROM_ELSEWHERE = _text("watched_from_elsewhere")
ENDED_FOR_OTHERS = _text("ended_for_others")
FOREIGN_WATCHERS = _text("foreign_watchers")
UNWATCH_FOREIGN = _text("unwatch_foreign")
ASKED = _text("asked")
TOLD = _text("told")

META = _text("meta")
COUNTS = _text("counts")
STOPPED = _text("stopped")
OVERDUE = _text("overdue")
ORPHAN_CHILDREN = _text("orphan_children")
ENTRIES_WITHOUT_ROW = _text("entries_without_row")
ROWS_WITHOUT_CALL = _text("rows_without_call")
LOST_WAKE_UPS = _text("lost_wake_ups")
JOURNALS = _text("journals")
JOURNAL_HEAD = _text("journal_head")
JOURNAL_ENTRIES = _text("journal_entries")

AUDIT_PAGE = _text("audit_page")
AUDIT_ROW = _text("audit_row")
AUDIT_CHILDREN = _text("audit_children")
AUDIT_SLOTS = _text("audit_slots")
