/** A secret that a service says in pieces, over the events of a stream or the messages of a WebSocket. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import zlib from 'node:zlib';
import { createScanner } from '../../kernel/firewall/index.ts';
import { createLineReader, createPieceSearch } from '../../kernel/firewall/scanner/pieces.ts';
import { KEY, startScene } from './support.ts';

const OTHER = 'pä"ss\\wörd/with+all=of&it€';
/** The start of a secret that may pass before it is known for one. */
const HARMLESS = 3;

/** Cuts at places that come from a seed. */
function cut(text: string, seed: number, most: number): string[] {
  const pieces: string[] = [];
  let state = seed * 7919 + 1;
  for (let at = 0; at < text.length;) {
    state = (state * 48271) % 2147483647;
    const length = 1 + (state % most);
    pieces.push(text.slice(at, at + length));
    at += length;
  }
  return pieces;
}

function searchLines(body: string, chunk = body.length || 1) {
  const scanner = createScanner([
    { name: 'KEY', value: Buffer.from(KEY) },
    { name: 'OTHER', value: Buffer.from(OTHER) },
  ]);
  const stream = scanner.open();
  const search = createPieceSearch(scanner, () => undefined);
  const lines = createLineReader(search);
  const data = Buffer.from(body);
  const out: Buffer[] = [];
  for (let at = 0; at < data.length; at += chunk) {
    lines.push(stream.push(data.subarray(at, at + chunk)));
    out.push(search.take());
  }
  lines.push(stream.end());
  lines.end();
  out.push(search.take());
  return { text: Buffer.concat(out).toString(), hits: [...stream.hits, ...search.hits] };
}

type Dialect = { readonly write: (piece: string, at: number) => string; readonly read: (body: string) => string };

const events = (body: string) =>
  body
    .split('\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => line.slice(6));
// oxlint-disable-next-line typescript/no-explicit-any
const parsed = (lines: string[]): any[] => lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));

const DIALECTS: Record<string, Dialect> = {
  messages: {
    write: (text) =>
      `event: content_block_delta\ndata: ${JSON.stringify({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })}\n\nevent: ping\ndata: {"type": "ping"}\n\n`,
    read: (body) =>
      parsed(events(body))
        .map((event) => event.delta?.text ?? '')
        .join(''),
  },
  'arguments of a tool': {
    write: (text) =>
      `data: ${JSON.stringify({ type: 'content_block_delta', index: 1, delta: { type: 'input_json_delta', partial_json: text } })}\r\n\r\n`,
    read: (body) =>
      parsed(events(body.replaceAll('\r', '')))
        .map((event) => event.delta.partial_json)
        .join(''),
  },
  completions: {
    write: (content) => `data: ${JSON.stringify({ id: 'c', choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`,
    read: (body) =>
      parsed(events(body))
        .map((event) => event.choices[0].delta.content)
        .join(''),
  },
  responses: {
    write: (delta, at) =>
      `data: ${JSON.stringify({ type: 'response.output_text.delta', sequence_number: at, output_index: 0, item_id: 'i', delta })}\n\n`,
    read: (body) =>
      parsed(events(body))
        .map((event) => event.delta)
        .join(''),
  },
  'two texts by turns': {
    write: (text) =>
      [0, 1].map((index) => `data: ${JSON.stringify({ index, delta: { text: index === 0 ? text : `${text.length}…` } })}\n\n`).join(''),
    read: (body) =>
      parsed(events(body))
        .filter((event) => event.index === 0)
        .map((event) => event.delta.text)
        .join(''),
  },
  'JSON lines': {
    write: (response, at) => `${JSON.stringify({ model: 'm', done: false, at, response })}\n`,
    read: (body) =>
      parsed(body.split('\n'))
        .map((event) => event.response)
        .join(''),
  },
  'text alone': {
    write: (text) => `data: ${text}\n\n`,
    read: (body) => events(body).join(''),
  },
};

describe('a secret in the events of a stream', () => {
  for (const [name, { write, read }] of Object.entries(DIALECTS)) {
    test(`${name}: it is blanked wherever it is cut, and all else arrives as it was`, () => {
      let inPieces = 0;
      for (let seed = 1; seed <= 150; seed++) {
        for (const secret of name === 'text alone' ? [KEY] : [KEY, OTHER]) {
          const [before, after] = ['Here it is, s', ` and that was all of it, sk-ant-api. ${seed}`];
          const pieces = cut(before + secret + after, seed, 1 + (seed % 12));
          const { text, hits } = searchLines(pieces.map(write).join(''), 1 + ((seed * 31) % 200));
          const said = read(text);
          const bytes = Buffer.byteLength(secret);
          assert.ok(said.startsWith(before) && said.endsWith(after), said);
          const middle = said.slice(before.length, said.length - after.length);
          assert.ok(
            [0, 1, 2, HARMLESS].some((n) => {
              const kept = Buffer.from(secret).subarray(0, n).toString();
              return middle === kept + '*'.repeat(bytes - Buffer.byteLength(kept));
            }),
            `${seed}: ${middle}`,
          );
          if (hits.some((hit) => hit.variant.endsWith('in pieces'))) inPieces += 1;
        }
      }
      assert.ok(inPieces > 100, `${inPieces}`);
    });
  }

  test('each encoding of it that is found in one piece is found in many', () => {
    for (const encoded of [
      Buffer.from(KEY).toString('base64'),
      Buffer.from(`user:${KEY}`).toString('base64url'),
      Buffer.from(KEY).toString('hex'),
      [...Buffer.from(KEY)].map((byte) => `%${byte.toString(16)}`).join(''),
      encodeURIComponent(OTHER),
      JSON.stringify(OTHER),
    ]) {
      const { text, hits } = searchLines(
        cut(`<${encoded}>`, 5, 4)
          .map((piece) => `data: ${JSON.stringify({ delta: piece })}\n\n`)
          .join(''),
      );
      assert.ok(hits.length > 0, encoded);
      const said = parsed(events(text))
        .map((event) => event.delta)
        .join('');
      assert.match(said, /\*{20}/);
    }
  });

  test('what is no secret is neither changed nor kept waiting', () => {
    const scanner = createScanner([{ name: 'KEY', value: Buffer.from(KEY) }]);
    const search = createPieceSearch(scanner, () => undefined);
    const lines = createLineReader(search);
    for (const line of [
      'event: content_block_delta\n',
      'data:   {"delta" : {"text":"sk-"}}\n\n',
      'data: {"delta":{"text":"learn"},"n":12345678901234567890}\n\n',
      ': a comment\r\n\r\n',
      'data\n\n',
      'data:\n\n',
      'data: [DONE]\n\n',
      '{"not": closed\n',
      '\n',
      'data: "sk"\r\r',
      'id: 7\nretry: 10\n',
    ]) {
      lines.push(Buffer.from(line));
      assert.equal(search.take().toString(), line);
    }
    lines.push(Buffer.from('data: the last line has no'));
    assert.equal(search.take().length, 0);
    lines.end();
    assert.equal(search.take().toString(), 'data: the last line has no');
    assert.deepEqual(search.hits, []);
  });

  test('a beginning waits for what follows, for two silent seconds', (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    let late = 0;
    const search = createPieceSearch(createScanner([{ name: 'KEY', value: Buffer.from(KEY) }]), () => (late += 1));
    const lines = createLineReader(search);
    const say = (text: string) => lines.push(Buffer.from(`data: ${JSON.stringify({ text })}\n\n`));
    say(`The key begins with ${KEY.slice(0, 20)}`);
    assert.equal(search.take().length, 0);
    context.mock.timers.tick(1_900);
    lines.push(Buffer.from('data: {"type":"ping"}\n\n'));
    assert.equal(search.take().length, 0);
    assert.equal(late, 0);
    context.mock.timers.tick(200);
    assert.equal(late, 1);
    assert.match(search.take().toString(), /begins with sk-ant-api03-.*ping/s);
    // what comes after all is still blanked
    say(`${KEY.slice(20)} it is`);
    assert.equal(search.take().toString(), `data: {"text":"${'*'.repeat(KEY.length - 20)} it is"}\n\n`);
    assert.equal(search.hits[0]?.variant, 'raw, in pieces');
  });

  test('strange lines end nothing: long ones, deep ones, many places, names of prototypes', () => {
    const [a, b] = [KEY.slice(0, 20), KEY.slice(20)];
    const proto = searchLines(`data: {"__proto__":{"constructor":"${a}"}}\n\ndata: {"__proto__":{"constructor":"${b}"},"more":1}\n\n`);
    assert.doesNotMatch(proto.text, new RegExp(`${KEY.slice(4, 20)}|${b}`));
    assert.equal(Object.keys(JSON.parse(events(proto.text)[1] as string)).join(), '__proto__,more');
    const deep = `data: ${'['.repeat(5000)}${']'.repeat(5000)}\n`;
    assert.equal(searchLines(deep).text, deep);
    const long = `data: ${'x'.repeat(3_000_000)}\n\ndata: {"text":"${a}"}\n\ndata: {"text":"${b}"}\n\n`;
    const longer = searchLines(long, 65_536);
    assert.equal(longer.text.slice(0, 3_000_000), long.slice(0, 3_000_000));
    assert.doesNotMatch(longer.text, new RegExp(b));
    const places = Array.from({ length: 2000 }, (_, i) => `data: {"${i}":{"text":"${a}"}}\n`).join('');
    assert.equal(searchLines(places).text, places);
    const flood = `data: {"text":"${a}"}\n${'data: {"other":"words"}\n'.repeat(300_000)}`;
    assert.equal(searchLines(flood, 65_536).text, flood);
  });
});

describe('through the firewall', () => {
  const deltas = cut(`it is ${KEY}, they say`, 3, 6).map((text) => `data: ${JSON.stringify({ delta: { text } })}\n\n`);

  for (const packed of [false, true]) {
    test(`a streamed answer is blanked, ${packed ? 'packed' : 'plain'}, and its length is not told`, async () => {
      await using scene = await startScene({
        handler: (_, response) => {
          const body = packed ? zlib.gzipSync(deltas.join('')) : Buffer.from(deltas.join(''));
          response.writeHead(200, {
            'content-type': 'text/event-stream; charset=utf-8',
            'content-length': body.length,
            ...(packed ? { 'content-encoding': 'gzip' } : {}),
          });
          response.end(body);
        },
      });
      const answer = await scene.call('/', { headers: { 'x-api-key': scene.placeholder, 'accept-encoding': 'gzip' } });
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['content-length'], undefined);
      const said = parsed(events(answer.body))
        .map((event) => event.delta.text)
        .join('');
      assert.match(said, /^it is s?k?-?\*{41,44}, they say$/);
      const outcome = (await scene.entries()).find((entry) => entry['action'] === 'egress.outcome');
      assert.equal(outcome?.['details'].alert, true);
      assert.deepEqual(outcome?.['details'].leaks, [{ secret: 'API_KEY', variant: 'raw, in pieces' }]);
    });
  }

  test('where nothing may pass blanked, the stream ends before the secret is whole', async () => {
    await using scene = await startScene({
      config: { scan: { action: 'block' } },
      handler: (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.end(deltas.join(''));
      },
    });
    await assert.rejects(scene.call('/', { headers: { 'x-api-key': scene.placeholder } }).then((answer) => assert.fail(answer.body)));
    const outcome = (await scene.entries()).find((entry) => entry['action'] === 'egress.outcome');
    assert.equal(outcome?.['details'].error, 'SECRET_IN_ANSWER');
  });
});
