"""Slack messages with buttons, each of which starts a run."""

from .wire import dumps


class Button:
    """A button's label, and its style: `primary`, `danger` or none."""

    def __init__(self, label, style=None):
        self.label = label
        self.style = style


def button_blocks(text, workflow, buttons, value):
    """A section with the text above one button each. A button's value says what a click starts."""
    elements = []
    for action, button in buttons.items():
        label = button if isinstance(button, str) else button.label
        element = {
            "type": "button",
            "action_id": action,
            "text": {"type": "plain_text", "text": label},
            "value": dumps({"workflow": workflow, "action": action, "input": value}, f'button "{action}"'),
        }
        style = getattr(button, "style", None)
        elements.append(element if style is None else {**element, "style": style})
    return [{"type": "section", "text": {"type": "mrkdwn", "text": text}}, {"type": "actions", "elements": elements}]
