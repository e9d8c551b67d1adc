/** The tool `http` against a small shop that has an OpenAPI document. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ToolDefinition, ToolFile } from '@centaur/sdk';
import { createHttpTool } from '../../userspace/tools/_http/create.ts';
import builtIn from '../../userspace/tools/_http/tool.ts';
import { callMethod, failureOf } from './call.ts';
import { type Front, startFront } from './front.ts';

const KEY = 'shop-key-0123456789';

let shop: Front;
let elsewhere: Front;
let http: ToolDefinition;

const DOCUMENT = {
  openapi: '3.1.0',
  info: { title: 'Shop', version: '2', description: 'Doors and more' },
  // beside the document
  servers: [{ url: '/{stage}/v1', variables: { stage: { default: 'live' } } }],
  paths: {
    '/doors': {
      get: {
        operationId: 'listDoors',
        summary: 'All doors',
        tags: ['doors'],
        parameters: [
          { name: 'colour', in: 'query', schema: { type: 'array', items: { type: 'string' } }, explode: false },
          { name: 'tag', in: 'query', schema: { type: 'array', items: { type: 'string' } } },
          { name: 'filter', in: 'query', style: 'deepObject', schema: { type: 'object' } },
          { name: 'sort', in: 'query', schema: { $ref: '#/components/schemas/Sort' } },
          { name: 'limit', in: 'query', schema: { type: 'integer' } },
        ],
        responses: {
          200: {
            description: 'Doors',
            content: { 'application/json': { schema: { type: 'array', items: { $ref: '#/components/schemas/Door' } } } },
          },
        },
      },
      post: {
        operationId: 'createDoor',
        summary: 'One more door',
        requestBody: { required: true, content: { 'application/json': { schema: { $ref: '#/components/schemas/Door' } } } },
        responses: { 201: { description: 'Made' } },
      },
    },
    '/doors/{id}': {
      parameters: [{ $ref: '#/components/parameters/Id' }],
      get: {
        operationId: 'getDoor',
        parameters: [{ name: 'X-Trace', in: 'header', schema: { type: 'string' } }],
        responses: { 200: { description: 'A door' } },
      },
      delete: { deprecated: true, responses: { 204: { description: 'Gone' } } },
    },
    '/doors/{id}/picture': {
      get: { operationId: 'getPicture', parameters: [{ $ref: '#/components/parameters/Id' }], responses: { 200: { description: 'PNG' } } },
    },
    '/orders': {
      post: {
        operationId: 'order',
        requestBody: { content: { 'application/x-www-form-urlencoded': { schema: { type: 'object' } } } },
        responses: { 200: { description: 'Ordered' } },
      },
    },
    '/far': { get: { operationId: 'far', servers: [{ url: 'https://far.example.com' }], responses: {} } },
  },
  components: {
    parameters: { Id: { name: 'id', in: 'path', required: true, schema: { type: 'string' } } },
    schemas: {
      Sort: { type: 'string', enum: ['price', 'name'] },
      Door: {
        type: 'object',
        required: ['name'],
        properties: { name: { type: 'string' }, example: { type: 'string' }, within: { $ref: '#/components/schemas/Door' } },
      },
    },
  },
};

before(async () => {
  shop = await startFront({
    'GET /openapi\\.json': () => ({ body: DOCUMENT }),
    'GET /large\\.json': () => ({ body: JSON.stringify({ ...DOCUMENT, padding: 'x'.repeat(12_000_000) }) }),
    'GET /old\\.json': () => ({ body: { swagger: '2.0' } }),
    'GET /openapi\\.yaml': () => ({ body: 'openapi: 3.1.0' }),
    'GET /live/v1/doors': ({ query }) => ({
      headers: { link: '<next>; rel="next"', 'x-total-count': '2', 'set-cookie': 'a=b' },
      body: { asked: query.toString() },
    }),
    'POST /live/v1/doors': ({ body }) => ({ status: 201, body: { id: 'd1', ...(JSON.parse(body.toString()) as object) } }),
    'GET /live/v1/doors/([^/]+)': ({ headers }, [, id]) =>
      id === 'none' ? { status: 404, body: { detail: 'no such door' } } : { body: { id, trace: headers['x-trace'] } },
    'DELETE /live/v1/doors/([^/]+)': () => ({ status: 204 }),
    'GET /live/v1/doors/([^/]+)/picture': () => ({
      headers: { 'content-type': 'image/png', 'content-disposition': 'attachment; filename="door.png"' },
      body: new Uint8Array([1, 2, 0]),
    }),
    'POST /live/v1/orders': ({ body }) => ({ headers: { 'content-type': 'text/plain' }, body: body.toString() }),
  });
  elsewhere = await startFront({ 'GET /openapi\\.json': () => ({ body: DOCUMENT }) });
  process.env['SHOP_KEY'] = KEY;
  http = createHttpTool(
    [
      { name: 'shop', description: 'Doors', document: `${shop.url}/openapi.json`, auth: { secret: 'SHOP_KEY' } },
      {
        name: 'keyed',
        document: `${shop.url}/openapi.json`,
        auth: { secret: 'SHOP_KEY', query: 'key' },
        operations: ['listDoors', 'GET /doors/{id}'],
      },
    ],
    [],
  );
});

after(() => {
  shop.close();
  elsewhere.close();
});

test('the one that is built in reaches nothing, and says how it could', async () => {
  assert.deepEqual([builtIn.hosts, builtIn.secrets], [[], []]);
  assert.match((await callMethod(builtIn, 'list_apis')).note, /into an overlay/);
  assert.equal((await failureOf(callMethod(builtIn, 'list_operations', { api: `${shop.url}/openapi.json` }))).code, 'HOST_NOT_DECLARED');
  assert.match((await failureOf(callMethod(builtIn, 'list_operations', { api: 'shop' }))).message, /into an overlay/);
});

test('what it declares is what its APIs need', async () => {
  const { host } = new URL(shop.url);
  assert.deepEqual(http.hosts, [host]);
  assert.deepEqual(
    http.secrets?.map(({ name, hosts }) => [name, hosts]),
    [['SHOP_KEY', [host]]],
  );
  assert.deepEqual(
    [http.methods['read']?.risk, http.methods['write']?.risk, http.methods['delete']?.risk],
    ['read', 'write', 'destructive'],
  );
  assert.throws(() => createHttpTool([{ name: 'x', document: './x.json', auth: { secret: 'X' } }], []), /name its server/);
});

test('operations are listed, searched and paged', async () => {
  const all = await callMethod(http, 'list_operations', { api: 'shop' });
  assert.deepEqual(
    all.items.map(({ id }: { id: string }) => id),
    ['listDoors', 'createDoor', 'getDoor', 'DELETE /doors/{id}', 'getPicture', 'order', 'far'],
  );
  assert.deepEqual(all.items[3], { id: 'DELETE /doors/{id}', call: 'DELETE /doors/{id}', with: 'delete', deprecated: true });
  const doors = await callMethod(http, 'list_operations', { api: 'shop', search: 'ALL doors' });
  assert.deepEqual(
    doors.items.map(({ id }: { id: string }) => id),
    ['listDoors'],
  );
  const page = await callMethod(http, 'list_operations', { api: 'shop', limit: 5 });
  const rest = await callMethod(http, 'list_operations', { api: 'shop', limit: 5, cursor: page.next_cursor });
  assert.deepEqual([page.items.length, rest.items.length, rest.next_cursor], [5, 2, undefined]);
  assert.deepEqual(
    (await callMethod(http, 'list_operations', { api: 'keyed' })).items.map(({ id }: { id: string }) => id),
    ['listDoors', 'getDoor'],
  );
});

test('an operation is described with what it refers to', async () => {
  const described = await callMethod(http, 'describe_operation', { api: 'shop', operation: 'createDoor' });
  assert.equal(described.call, `POST ${shop.url}/live/v1/doors`);
  const door = described.body.content['application/json'];
  // a field may be named as a keyword of the document is; what refers to itself stays a reference
  assert.deepEqual(door.properties, {
    name: { type: 'string' },
    example: { type: 'string' },
    within: { $ref: '#/components/schemas/Door' },
  });
  const listed = await callMethod(http, 'describe_operation', { api: 'shop', operation: 'GET /doors' });
  assert.deepEqual(listed.parameters.find(({ name }: { name: string }) => name === 'sort').schema, {
    type: 'string',
    enum: ['price', 'name'],
  });
  assert.match(
    (await failureOf(callMethod(http, 'describe_operation', { api: 'shop', operation: 'get_door' }))).message,
    /it has listDoors, createDoor, getDoor/,
  );
});

test('a call reads, with the key, and every kind of parameter', async () => {
  const parameters = { colour: ['red', 'blue'], tag: ['a', 'b'], filter: { min: 1 }, sort: 'price', limit: 5 };
  const answer = await callMethod(http, 'read', { api: 'shop', operation: 'listDoors', parameters });
  assert.equal(new URLSearchParams(answer.body.asked).toString(), 'colour=red%2Cblue&tag=a&tag=b&filter%5Bmin%5D=1&sort=price&limit=5');
  assert.deepEqual([answer.status, answer.headers], [200, { link: '<next>; rel="next"', 'x-total-count': '2' }]);
  assert.equal(shop.last.headers.authorization, `Bearer ${KEY}`);
  const door = await callMethod(http, 'read', { api: 'shop', operation: 'getDoor', parameters: { id: 'a b/c', 'X-Trace': 't' } });
  assert.deepEqual(door.body, { id: 'a%20b%2Fc', trace: 't' });
  await callMethod(http, 'read', { api: 'keyed', operation: 'listDoors', parameters: { limit: 1 } });
  assert.deepEqual([shop.last.query.get('key'), shop.last.headers.authorization], [KEY, undefined]);
});

test('a call writes JSON, and forms', async () => {
  const made = await callMethod(http, 'write', { api: 'shop', operation: 'createDoor', body: { name: 'Front' } });
  assert.deepEqual([made.status, made.body], [201, { id: 'd1', name: 'Front' }]);
  const ordered = await callMethod(http, 'write', { api: 'shop', operation: 'order', body: { door: 'd1', sizes: [1, 2] } });
  assert.equal(ordered.body, 'door=d1&sizes=1&sizes=2');
  assert.deepEqual(await callMethod(http, 'delete', { api: 'shop', operation: 'DELETE /doors/{id}', parameters: { id: 'd1' } }), {
    status: 204,
  });
});

test('what is neither JSON nor text becomes an attachment', async () => {
  const attached: ToolFile[] = [];
  const answer = await callMethod(http, 'read', { api: 'shop', operation: 'getPicture', parameters: { id: 'd1' } }, { attached });
  assert.deepEqual(answer.attachment, { attachment_id: 'a1', name: 'door.png', mime_type: 'image/png', size: 3 });
});

test('a method only calls what its risk is for', async () => {
  const before = shop.seen.length;
  for (const [name, operation] of [
    ['read', 'createDoor'],
    ['read', 'DELETE /doors/{id}'],
    ['write', 'DELETE /doors/{id}'],
    ['delete', 'createDoor'],
    ['write', 'listDoors'],
  ] as const) {
    const refused = await failureOf(callMethod(http, name, { api: 'shop', operation, parameters: { id: 'd1' }, body: { name: 'x' } }));
    assert.equal(refused.code, 'WRONG_METHOD', `${name} ${operation}`);
  }
  assert.equal(
    (await failureOf(callMethod(http, 'write', { api: 'keyed', operation: 'createDoor', body: { name: 'x' } }))).code,
    'NOT_FOUND',
  );
  assert.equal(shop.seen.length, before);
});

test('arguments that do not fit never leave', async () => {
  const before = shop.seen.length;
  const cases: [string, object, RegExp][] = [
    ['read', { operation: 'getDoor' }, /the parameter id is missing/],
    ['read', { operation: 'getDoor', parameters: { id: '..' } }, /no name/],
    ['read', { operation: 'listDoors', parameters: { color: 'red' } }, /there is no parameter color/],
    ['read', { operation: 'listDoors', parameters: { sort: 'size' } }, /must be one of price, name/],
    ['read', { operation: 'listDoors', parameters: { limit: 'many' } }, /must be a number/],
    ['read', { operation: 'listDoors', body: {} }, /takes no body/],
    ['write', { operation: 'createDoor' }, /the body is missing/],
    ['write', { operation: 'order', body: 'text' }, /takes application\/x-www-form-urlencoded/],
    ['read', { operation: 7 }, /operation/],
  ];
  for (const [name, args, message] of cases)
    assert.match((await failureOf(callMethod(http, name, { api: 'shop', ...args }))).message, message);
  assert.equal(shop.seen.length, before);
});

test('nothing goes to a host that is not declared, and no key to a document that an agent has named', async () => {
  const far = await failureOf(callMethod(http, 'read', { api: 'shop', operation: 'far' }));
  assert.equal(far.code, 'HOST_NOT_DECLARED');
  assert.match(far.message, /far\.example\.com/);
  assert.equal((await failureOf(callMethod(http, 'list_operations', { api: `${elsewhere.url}/openapi.json` }))).code, 'HOST_NOT_DECLARED');
  assert.equal(elsewhere.seen.length, 0);
  await callMethod(http, 'read', { api: `${shop.url}/openapi.json`, operation: 'listDoors' });
  assert.equal(shop.last.headers.authorization, undefined);
});

test('what goes wrong says what to do', async () => {
  const missing = await failureOf(callMethod(http, 'read', { api: 'shop', operation: 'getDoor', parameters: { id: 'none' } }));
  assert.deepEqual([missing.code, missing.message], ['NOT_FOUND', 'Shop: {"detail":"no such door"}.']);
  for (const name of ['old.json', 'openapi.yaml', 'none.json']) {
    const code = (await failureOf(callMethod(http, 'list_operations', { api: `${shop.url}/${name}` }))).code;
    assert.equal(code, name === 'none.json' ? 'NOT_FOUND' : 'BAD_DOCUMENT', name);
  }
  shop.next({ status: 429, headers: { 'retry-after': '7' }, body: {} });
  const limited = await failureOf(callMethod(http, 'write', { api: 'shop', operation: 'createDoor', body: { name: 'x' } }));
  assert.deepEqual([limited.code, limited.retryable], ['RATE_LIMITED', true]);
  assert.match(limited.message, /after 7 s/);
});

test('documents are kept while there is room, and the longest unused goes first', async () => {
  const asks = async (name: string): Promise<boolean> => {
    const before = shop.seen.length;
    await callMethod(http, 'list_operations', { api: `${shop.url}/large.json?${name}`, limit: 1 });
    return shop.seen.length > before;
  };
  assert.deepEqual([await asks('one'), await asks('two'), await asks('one'), await asks('three')], [true, true, false, true]);
  assert.equal(await asks('one'), false, 'it was used after the second');
  assert.equal(await asks('two'), true);
});
