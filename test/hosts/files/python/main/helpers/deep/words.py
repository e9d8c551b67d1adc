from .letters import capital


def greeting(name):
    return f"Hello, {capital(name)}"
