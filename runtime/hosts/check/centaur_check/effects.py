"""What a name does to the world, or takes from it, as far as its name tells."""

import ast
from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    what: str
    remedy: str
    level: str = "warning"
    # whether it is the repetition that does harm
    repeats: bool = True


def in_step(example: str) -> str:
    return f'await ctx.step("name", lambda: {example})'


HTTP = {"get", "post", "put", "patch", "delete", "head", "options", "request", "stream", "send", "urlopen", "urlretrieve", "ws_connect"}
HTTP_PACKAGES = {"requests", "httpx", "urllib", "urllib3", "aiohttp", "http"}
# makers of clients: what is called on the client is the effect
CLIENTS = {
    "requests.Session", "requests.session", "httpx.Client", "httpx.AsyncClient", "aiohttp.ClientSession", "urllib3.PoolManager",
    "http.client.HTTPConnection", "http.client.HTTPSConnection", "boto3.client", "boto3.resource", "smtplib.SMTP", "smtplib.SMTP_SSL",
    "slack_sdk.WebClient", "slack_sdk.web.async_client.AsyncWebClient", "openai.OpenAI", "openai.AsyncOpenAI", "anthropic.Anthropic",
    "anthropic.AsyncAnthropic", "redis.Redis", "redis.from_url", "psycopg.connect", "psycopg2.connect", "asyncpg.connect",
    "asyncpg.create_pool", "sqlite3.connect", "ftplib.FTP", "paramiko.SSHClient",
}  # fmt: skip
SERVICES = {
    "boto3": "calls AWS",
    "smtplib": "sends mail",
    "slack_sdk": "talks to Slack",
    "openai": "asks a model",
    "anthropic": "asks a model",
    "redis": "talks to Redis",
    "ftplib": "talks to an FTP server",
    "paramiko": "talks to another machine",
}
REMEDIES = {
    "slack_sdk": "await ctx.post_to_slack(channel, text)",
    "openai": "await ctx.agent_turn(prompt), or put the call into ctx.step",
    "anthropic": "await ctx.agent_turn(prompt), or put the call into ctx.step",
}
DATABASES = {"psycopg", "psycopg2", "asyncpg", "sqlite3"}
# of the file system; what they are called on is a path
PATH_WRITES = {"write_text", "write_bytes", "unlink", "touch", "rmdir", "symlink_to", "hardlink_to"}
OS_WRITES = {"remove", "unlink", "rename", "replace", "mkdir", "makedirs", "rmdir", "removedirs", "symlink", "link", "truncate"}
SQL_WRITES = ("insert", "update", "delete", "truncate", "create", "alter", "drop", "merge", "copy", "with")
CLOCKS = {
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today", "time.time", "time.time_ns",
    "time.localtime", "time.gmtime",
}  # fmt: skip

PROGRAM = Effect("starts a program", in_step('subprocess.run(["program"], check=True)'))
FILE = Effect("writes to the file system", in_step("write_file(…)"))
SLEEP = Effect("waits in memory only: after a restart the whole wait begins anew", 'await ctx.sleep("name", seconds)', repeats=False)
CLOCK = Effect("reads the clock: a replay sees another time", "ctx.now() gives the same time in a replay", repeats=False)
RANDOM = Effect("is random: a replay sees another value", "ctx.random() gives the same value in a replay", repeats=False)
UUID = Effect("is random: a replay sees another value", "ctx.uuid() gives the same value in a replay", repeats=False)
ENVIRONMENT = Effect("changes the environment of this process: after a restart it is gone", "pass the value on instead", repeats=False)
DATABASE = Effect("writes to the database", in_step('ctx._pool.execute("insert …", …)'))
PRINT = Effect("prints again in each replay", "ctx.log(message) is silent in a replay", "note", repeats=False)


def effect_of(name: str, call: ast.Call | None) -> Effect | None:
    """Of a dotted name that is called, or handed to what will call it. `x()` in it stands for what x returns, `?x` is
    neither imported nor built in."""
    top, last = name.partition(".")[0].removesuffix("()"), name.rpartition(".")[2]
    if top in HTTP_PACKAGES and last in HTTP and name not in CLIENTS:
        return Effect("sends an HTTP request", in_step(f"{'client.' + last if '()' in name else name}(…)"))
    if top == "subprocess" and last in ("run", "call", "check_call", "check_output", "Popen", "getoutput"):
        return PROGRAM
    if name in ("os.system", "os.popen", "os.startfile") or name.startswith(("os.exec", "os.spawn", "asyncio.create_subprocess")):
        return PROGRAM
    if name in ("open", "io.open") or last == "open" and name.startswith("pathlib.Path"):
        return FILE if opens_to_write(call, 0 if last == "open" and name.startswith("pathlib") else 1) else None
    if last in PATH_WRITES and "." in name or top == "os" and name.count(".") == 1 and last in OS_WRITES:
        return FILE
    if top == "shutil" and last not in ("which", "disk_usage", "get_terminal_size"):
        return FILE
    if name == "time.sleep" or name == "asyncio.sleep" and not sleeps_for_nothing(call):
        return SLEEP
    if name in CLOCKS and not (name in ("time.localtime", "time.gmtime") and call is not None and call.args):
        return CLOCK
    if name in ("uuid.uuid1", "uuid.uuid4"):
        return UUID
    if top in ("random", "secrets") and last != "compare_digest" or name == "os.urandom" or name.startswith("numpy.random."):
        return RANDOM
    if name in ("os.putenv", "os.unsetenv", "os.environ.update", "os.environ.setdefault", "os.environ.pop"):
        return ENVIRONMENT
    if name == "print":
        return PRINT
    return effect_of_client(name, top, last, call)


def effect_of_client(name: str, top: str, last: str, call: ast.Call | None) -> Effect | None:
    if "()" not in name:
        return None
    if top in SERVICES and last not in ("close", "quit", "login", "starttls"):
        return Effect(SERVICES[top], REMEDIES.get(top) or in_step(f"client.{last}(…)"))
    if top in DATABASES or top == "pool":
        if last in ("execute", "executemany", "copy_records_to_table", "copy_to_table", "commit"):
            return DATABASE
        if last in ("fetch", "fetchrow", "fetchval") and writes_sql(call):
            return DATABASE
    return None


def opens_to_write(call: ast.Call | None, position: int) -> bool:
    if call is None:
        return False
    mode = next((each.value for each in call.keywords if each.arg == "mode"), None)
    mode = mode or (call.args[position] if len(call.args) > position else None)
    return isinstance(mode, ast.Constant) and any(letter in str(mode.value) for letter in "wax+")


def sleeps_for_nothing(call: ast.Call | None) -> bool:
    return call is not None and len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def writes_sql(call: ast.Call | None) -> bool:
    if call is None or not call.args or not isinstance(call.args[0], ast.Constant):
        return False
    return str(call.args[0].value).lstrip().lower().startswith(SQL_WRITES)
