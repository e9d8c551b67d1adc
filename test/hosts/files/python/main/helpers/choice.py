async def choose(cases, inp, ctx):
    return await cases[inp["case"]](ctx)
