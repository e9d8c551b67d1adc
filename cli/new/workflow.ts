/** The sample of a workflow: a loop of steps and waits, with a stand-in for `ctx` in its test. */
import type { Files } from './files.ts';
import type { Name } from './names.ts';

export function nodeWorkflow({ snake }: Name): Files {
  return {
    [`${snake}.ts`]: `/**
 * Looks at an address until what it answers is "done", however long that takes.
 *
 *   centaur run ${snake} '{"url": "https://example.com/state"}' --wait
 */
import type { WorkflowContext } from '@centaur/sdk';

export const WORKFLOW_NAME = '${snake}';

interface Watch {
  readonly url: string;
  /** How often it looks before it gives up. */
  readonly looks?: number;
  readonly pause?: \`\${number}\${'s' | 'm' | 'h'}\`;
}

export async function handler({ url, looks = 10, pause = '30s' }: Watch, ctx: WorkflowContext) {
  for (let look = 1; look <= looks; look += 1) {
    // its outcome is stored: a run that goes on after a crash does not look again
    const state = await ctx.step('look', () => read(url), { retry: { maxAttempts: 3, delay: '2s' } });
    if (state === 'done') return { state, looks: look };
    if (look < looks) await ctx.sleep('pause', pause);
  }
  return { state: 'given up', looks };
}

async function read(url: string): Promise<string> {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(\`\${url} answered \${answer.status}\`);
  return (await answer.text()).trim();
}
`,
    [`${snake}.test.ts`]: `/** Run it with: node --test */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import type { WorkflowContext } from '@centaur/sdk';
import { handler } from './${snake}.ts';

/** Does each step at once, and waits for nothing. */
function standIn() {
  const pauses: unknown[] = [];
  const ctx = {
    step: (_name: string, work: () => unknown) => work(),
    sleep: async (_name: string, duration: unknown) => void pauses.push(duration),
  } as unknown as WorkflowContext;
  return { ctx, pauses };
}

async function serve(t: { after(end: () => void): void }, ...states: readonly string[]): Promise<string> {
  let asked = 0;
  const server = createServer((_, response) => response.end(states[Math.min(asked++, states.length - 1)]));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return \`http://127.0.0.1:\${(server.address() as { port: number }).port}\`;
}

test('it looks again until it is done', async (t) => {
  const { ctx, pauses } = standIn();
  const url = await serve(t, 'running', 'running', 'done\\n');
  assert.deepEqual(await handler({ url, pause: '5m' }, ctx), { state: 'done', looks: 3 });
  assert.deepEqual(pauses, ['5m', '5m']);
});

test('it gives up', async (t) => {
  const { ctx, pauses } = standIn();
  const url = await serve(t, 'running');
  assert.deepEqual(await handler({ url, looks: 2 }, ctx), { state: 'given up', looks: 2 });
  assert.equal(pauses.length, 1);
});
`,
  };
}

export function pythonWorkflow({ snake }: Name): Files {
  return {
    [`${snake}.py`]: `"""
Looks at an address until what it answers is "done", however long that takes.

    centaur run ${snake} '{"url": "https://example.com/state"}' --wait
"""

from urllib.request import urlopen

WORKFLOW_NAME = "${snake}"


async def handler(inp, ctx):
    url = inp["url"]
    looks = inp.get("looks", 10)
    for look in range(1, looks + 1):
        # its outcome is stored: a run that goes on after a crash does not look again
        state = await ctx.step("look", lambda: read(url), thread=True)
        if state == "done":
            return {"state": state, "looks": look}
        if look < looks:
            await ctx.sleep("pause", inp.get("pause", 30))
    return {"state": "given up", "looks": looks}


def read(url):
    with urlopen(url, timeout=20) as answer:
        return answer.read().decode().strip()
`,
    [`test_${snake}.py`]: `"""Run it with: python3 -m unittest"""

import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ${snake} import handler


class StandIn:
    """Does each step at once, and waits for nothing."""

    def __init__(self):
        self.pauses = []

    async def step(self, name, work, **options):
        return work()

    async def sleep(self, name, duration):
        self.pauses.append(duration)


class HandlerTest(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.states = []
        states = self.states

        class Service(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write((states.pop(0) if len(states) > 1 else states[0]).encode())

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}"

    async def test_it_looks_again_until_it_is_done(self):
        self.states += ["running", "running", "done"]
        ctx = StandIn()
        self.assertEqual(await handler({"url": self.url, "pause": 5}, ctx), {"state": "done", "looks": 3})
        self.assertEqual(ctx.pauses, [5, 5])

    async def test_it_gives_up(self):
        self.states += ["running"]
        ctx = StandIn()
        self.assertEqual(await handler({"url": self.url, "looks": 2}, ctx), {"state": "given up", "looks": 2})
        self.assertEqual(len(ctx.pauses), 1)


if __name__ == "__main__":
    unittest.main()
`,
  };
}
