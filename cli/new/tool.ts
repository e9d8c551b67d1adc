/** The sample of a tool: a client of a service, apart from its declaration, so that its test needs neither server nor SDK. */
import type { Files } from './files.ts';
import type { Name } from './names.ts';

export function nodeTool({ given, capitals }: Name): Files {
  return {
    'tool.ts': `/** ${given}: what agents and workflows may ask for. \`items.ts\` does it. */
import { defineTool, method, secret, ToolFailure } from '@centaur/sdk';
import { addItem, listItems, type Place, Refused } from './items.ts';

/** Elsewhere: \`tools.env\` of centaur.yaml. The declared host follows it. */
const url = process.env['${capitals}_URL'] ?? 'https://${given.replaceAll('_', '-')}.example.com';

export default defineTool({
  description: 'Items of ${given}: list them, add one.',
  secrets: [
    {
      name: '${capitals}_TOKEN',
      hosts: [new URL(url).host],
      methods: ['GET', 'POST'],
      paths: ['/items'],
      match_headers: ['authorization'],
      description: 'Where a person gets one',
    },
  ],
  timeout: '30s',
  methods: {
    list_items: method({
      description: 'The items, or those with some words in their title.',
      risk: 'read',
      input: {
        type: 'object',
        properties: { words: { type: 'string', description: 'Only items with these words' } },
        additionalProperties: false,
      },
      run: ({ words }, ctx) => told(() => listItems(place(ctx.signal), words === undefined ? '' : String(words))),
    }),
    add_item: method({
      description: 'Adds an item.',
      risk: 'write',
      // the service answers the same item to the same key
      idempotent: true,
      input: {
        type: 'object',
        properties: { title: { type: 'string', minLength: 1, maxLength: 200 } },
        required: ['title'],
        additionalProperties: false,
      },
      run: ({ title }, ctx) => told(() => addItem(place(ctx.signal), String(title), ctx.idempotencyKey)),
    }),
  },
});

function place(signal: AbortSignal): Place {
  return { url, token: secret('${capitals}_TOKEN'), signal };
}

/** A failure with a code, and whether it helps to call again. */
async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw new ToolFailure('REFUSED', error.message, { retryable: error.status === 429 || error.status >= 500, cause: error });
  }
}
`,
    'items.ts': `/** The service, as it is spoken to. */
export interface Place {
  readonly url: string;
  readonly token: string;
  readonly signal?: AbortSignal;
}

export interface Item {
  readonly id: string;
  readonly title: string;
}

export class Refused extends Error {
  readonly status: number;
  constructor(status: number, text: string) {
    super(\`the service answered \${status}: \${text.slice(0, 300)}\`);
    this.status = status;
  }
}

export async function listItems(place: Place, words: string): Promise<{ readonly items: readonly Item[] }> {
  const items = (await ask(place, 'GET')) as readonly Item[];
  const wanted = words.toLowerCase();
  return { items: items.filter(({ title }) => title.toLowerCase().includes(wanted)) };
}

export async function addItem(place: Place, title: string, key: string): Promise<Item> {
  return (await ask(place, 'POST', { title }, { 'idempotency-key': key })) as Item;
}

async function ask({ url, token, signal }: Place, method: string, body?: unknown, headers = {}): Promise<unknown> {
  const answer = await fetch(\`\${url}/items\`, {
    method,
    headers: { authorization: \`Bearer \${token}\`, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  });
  if (!answer.ok) throw new Refused(answer.status, await answer.text());
  return answer.json();
}
`,
    'items.test.ts': `/** Run it with: node --test */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { addItem, listItems, type Place, Refused } from './items.ts';

const kept = [{ id: '1', title: 'Paint the door' }];
const server = createServer(async (request, response) => {
  let text = '';
  for await (const part of request) text += part;
  const answer = (status: number, body: unknown) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (request.headers.authorization !== 'Bearer good') return answer(401, { error: 'who are you?' });
  if (request.url !== '/items') return answer(404, {});
  if (request.method === 'GET') return answer(200, kept);
  const id = String(request.headers['idempotency-key']);
  if (!kept.some((item) => item.id === id)) kept.push({ id, ...(JSON.parse(text) as { title: string }) });
  return answer(201, kept.find((item) => item.id === id));
});
let place: Place;

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  place = { url: \`http://127.0.0.1:\${(server.address() as { port: number }).port}\`, token: 'good' };
});

after(() => {
  server.closeAllConnections();
  server.close();
});

test('items are found by the words of their titles', async () => {
  assert.deepEqual(await listItems(place, 'DOOR'), { items: [{ id: '1', title: 'Paint the door' }] });
  assert.deepEqual(await listItems(place, 'window'), { items: [] });
});

test('a call that comes twice adds one item', async () => {
  assert.deepEqual(await addItem(place, 'Fix the roof', 'key-2'), { id: 'key-2', title: 'Fix the roof' });
  await addItem(place, 'Fix the roof', 'key-2');
  assert.equal((await listItems(place, 'roof')).items.length, 1);
});

test('what the service refuses is told with its status', async () => {
  await assert.rejects(listItems({ ...place, token: 'bad' }, ''), (error) => error instanceof Refused && error.status === 401);
});
`,
    'README.md': readme(given, capitals, 'node --test'),
  };
}

export function pythonTool({ given, capitals }: Name): Files {
  return {
    'pyproject.toml': `[project]
name = "${given}"
description = "Items of ${given}: list them, add one."

[tool.centaur]
timeout_s = 30
secrets = [
  { type = "http", name = "${capitals}_TOKEN", hosts = ["${given.replaceAll('_', '-')}.example.com"], match_headers = ["authorization"] },
]

[tool.centaur.methods.add_item]
risk = "write"
`,
    'client.py': `"""${given}: what agents and workflows may ask for."""

import json
import os
from urllib.request import Request, urlopen

URL = os.environ.get("${capitals}_URL", "https://${given.replaceAll('_', '-')}.example.com")


class Client:
    def __init__(self, url: str, token: str):
        self._url = url
        self._token = token

    def list_items(self, words: str = "") -> list[dict]:
        """The items, or those with some words in their title.

        Args:
            words: only items with these words
        """
        return [item for item in self._ask("GET") if words.lower() in item["title"].lower()]

    def add_item(self, title: str) -> dict:
        """Adds an item.

        Args:
            title: what it is called
        """
        return self._ask("POST", {"title": title})

    def _ask(self, method, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        with urlopen(Request(f"{self._url}/items", data, headers, method=method), timeout=20) as answer:
            return json.load(answer)


def _client():
    # here and not above, so that the test needs no SDK
    from centaur_sdk import secret

    return Client(URL, secret("${capitals}_TOKEN"))
`,
    'test_client.py': `"""Run it with: python3 -m unittest"""

import json
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError

from client import Client


class Service(BaseHTTPRequestHandler):
    items = [{"id": "1", "title": "Paint the door"}]

    def do_GET(self):
        self.answer(self.items)

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] == "Bearer good":
            self.items.append({"id": str(len(self.items) + 1), **given})
        self.answer(self.items[-1])

    def answer(self, body):
        known = self.path == "/items" and self.headers["authorization"] == "Bearer good"
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps(body if known else {}).encode())

    def log_message(self, *_):
        pass


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.url = f"http://127.0.0.1:{cls.server.server_port}"

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def test_items_are_found_by_the_words_of_their_titles(self):
        client = Client(self.url, "good")
        self.assertEqual(client.list_items("DOOR"), [{"id": "1", "title": "Paint the door"}])
        self.assertEqual(client.list_items("window"), [])

    def test_an_item_is_added(self):
        client = Client(self.url, "good")
        added = client.add_item("Fix the roof")
        self.assertEqual(added["title"], "Fix the roof")
        self.assertIn(added, client.list_items())

    def test_a_wrong_token_is_refused(self):
        with self.assertRaises(HTTPError) as refused:
            Client(self.url, "bad").list_items()
        self.assertEqual(refused.exception.code, 401)
        refused.exception.close()


if __name__ == "__main__":
    unittest.main()
`,
    'README.md': readme(given, capitals, 'python3 -m unittest'),
  };
}

function readme(given: string, capitals: string, tests: string): string {
  return `# ${given}

Lists and adds items of a service. Change it into what your team needs.

| | |
|---|---|
| look at what it declares | \`centaur tools check .\` |
| run its tests | \`${tests}\` |
| serve it | put the folder above this one into \`TOOL_DIRS\` |
| give it its secret | \`centaur secrets set ${capitals}_TOKEN --for ${given}\` |
| call it | \`centaur tools call ${given} list_items\` |
`;
}
