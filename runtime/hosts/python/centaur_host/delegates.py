"""
Steps whose function does nothing but make a durable call: `ctx.step("post", lambda: ctx.post_to_slack(...))`.

Such a step is the call itself, under the step's name: one checkpoint instead of several (see `inner`). It is told by the
function's code and not by calling it, for a replay must decide the same.
"""

DURABLE = frozenset(
    "step sleep sleep_until wait_for_event start_workflow wait_for_workflow run_workflow start_agent wait_for_agent run_agent "
    "agent_turn run_agents approval call_tool call_tool_and_tell call_tool_raw post_to_slack update_slack slack_buttons get_tool_manager tools".split()
)
# What such a function may use beside the call: nothing of it reaches beyond the process
HARMLESS = frozenset(
    "append bool dict dumps enumerate extend float format get int isinstance items join json JSONDecodeError keys len list loads lower "
    "lstrip replace rstrip set sorted split splitlines startswith endswith str strip sum tuple TypeError ValueError KeyError title "
    "update upper values zip log debug info warning warn error max min range round Delivery slack dev to_dict text_part timedelta".split()
)
READS = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FAST", "LOAD_GLOBAL", "LOAD_FAST_BORROW")
MANAGER = "get_tool_manager()"
known = {}


def delegates(function):
    """Whether a step's function is a durable call and nothing else."""
    if getattr(type(getattr(function, "__self__", None)), "durable", False):
        return True
    code = getattr(function, "__code__", None)
    if code is None:
        inner = getattr(function, "func", None)
        return inner is not None and delegates(inner)
    seen = known.get(code)
    if seen is None:
        if len(known) > 10_000:
            known.clear()
        seen = known[code] = receivers_in(code)
    return any(name is MANAGER or getattr(type(value_of(function, name)), "durable", False) for name in seen)


def receivers_in(code):
    """The variables of which a durable method is used; none where the function does other things as well."""
    if not DURABLE.intersection(code.co_names):
        return ()
    import dis

    lines = list(dis.get_instructions(code))
    if code.co_name != "<lambda>" and not all(is_harmless(each) for each in lines):
        return ()
    found = []
    for at, each in enumerate(lines):
        if each.argval == "get_tool_manager":
            found.append(MANAGER)
        elif each.opname in READS and at + 1 < len(lines) and lines[at + 1].opname in ("LOAD_ATTR", "LOAD_METHOD"):
            if lines[at + 1].argval in DURABLE:
                found.append(each.argval)
    return tuple(found)


def is_harmless(instruction):
    """A lambda is one expression, and its call is what it gives; in other functions each name that is called must be known."""
    name, kind = instruction.argval, instruction.opname
    if kind in ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME", "IMPORT_FROM") or is_method(instruction):
        return name in DURABLE or name in HARMLESS or name in ("api.app", "api")
    return kind not in ("STORE_GLOBAL", "STORE_ATTR", "STORE_DEREF", "MAKE_FUNCTION")


def is_method(instruction):
    """`receiver.name(`; since Python 3.12 that is an attribute with a mark."""
    if instruction.opname == "LOAD_METHOD":
        return True
    return instruction.opname == "LOAD_ATTR" and instruction.argrepr.startswith(("NULL|", instruction.argval + " + NULL|"))


def value_of(function, name):
    code = function.__code__
    if name in code.co_freevars:
        try:
            return function.__closure__[code.co_freevars.index(name)].cell_contents
        except ValueError:
            return None
    defaults = function.__defaults__ or ()
    given = dict(zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True))
    return given.get(name, function.__globals__.get(name))
