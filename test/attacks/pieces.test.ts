/** A secret that a service says in pieces, over the events of a stream or the messages of a WebSocket. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import zlib from 'node:zlib';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
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
  const lines = createLineReader(search, () => undefined);
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
  'numbers that count events': {
    write: (text, at) => `data:${JSON.stringify({ index: at, token: { id: 5, text, special: false }, generated_text: null })}\n\n`,
    read: (body) =>
      body
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line.slice(5)).token.text)
        .join(''),
  },
  'two kinds by turns at one place': {
    write: (delta) =>
      ['text', 'sound']
        .map((kind) => `data: ${JSON.stringify({ type: kind, output_index: 0, delta: kind === 'text' ? delta : 'c29' })}\n\n`)
        .join(''),
    read: (body) =>
      parsed(events(body))
        .filter((event) => event.type === 'text')
        .map((event) => event.delta)
        .join(''),
  },
  records: {
    write: (text) => `\u001e${JSON.stringify({ text })}\n`,
    read: (body) =>
      parsed(body.replaceAll('\u001e', '').split('\n'))
        .map((event) => event.text)
        .join(''),
  },
  'texts as JSON': {
    write: (text) => `data: ${JSON.stringify(text)}\n\n`,
    read: (body) =>
      events(body)
        .map((line) => JSON.parse(line) as string)
        .join(''),
  },
  'text alone': {
    write: (text) => `data: ${text}\n\n`,
    read: (body) => events(body).join(''),
  },
};

/** MB that are held while nothing is taken, after `feed`. */
function searchMemory(feed: (push: (text: string) => void) => void): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // buffers are given back beside the first, and by the second they have been
  const gc = () => {
    collect();
    collect();
  };
  const search = createPieceSearch(createScanner([{ name: 'KEY', value: Buffer.from(KEY) }]), () => undefined);
  const lines = createLineReader(search, () => undefined);
  gc();
  const heap = process.memoryUsage();
  feed((text) => {
    lines.push(Buffer.from(text));
    // as whoever sends it on does
    search.take();
  });
  gc();
  const after = process.memoryUsage();
  lines.drop();
  return (after.heapUsed + after.external - heap.heapUsed - heap.external) / 2 ** 20;
}

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
    const lines = createLineReader(search, () => undefined);
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
    const lines = createLineReader(search, () => undefined);
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

  test('another place does not make it wait longer, and a line that is not ended does not wait for ever', (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const out: string[] = [];
    const take = () => out.push(search.take().toString());
    const search = createPieceSearch(createScanner([{ name: 'KEY', value: Buffer.from(KEY) }]), take);
    const lines = createLineReader(search, take);
    lines.push(Buffer.from('data: {"note":"it begins with sk-ant-"}\n'));
    for (let i = 0; i < 5; i++) {
      lines.push(Buffer.from(`data: {"other":"sk-ant-", "n":${i}}\n`));
      context.mock.timers.tick(900);
    }
    assert.ok(out.join('').includes('it begins with'), 'it waits for the other place');
    lines.push(Buffer.from('data: {"text":"your turn"}'));
    context.mock.timers.tick(4_000);
    assert.ok(out.join('').endsWith('your turn"}'));
    lines.push(Buffer.from(`\ndata: {"text":"${KEY.slice(0, 20)}"}\n`));
    lines.push(Buffer.from(`data: {"text":"${KEY.slice(20)}"}\n`));
    take();
    assert.ok(!out.join('').includes(KEY.slice(20)));
  });

  test('what cannot be written again ends the search when it is late, and nothing else', (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const errors: (Error | undefined)[] = [];
    const search = createPieceSearch(createScanner([{ name: 'KEY', value: Buffer.from(KEY) }]), (error) => errors.push(error));
    const lines = createLineReader(search, () => undefined);
    lines.push(Buffer.from(`data: {"text":"${KEY.slice(0, 20)}"}\n`));
    lines.push(
      Buffer.from(`data: {"text":"${KEY.slice(20)}","other":"sk-ant-api03-","deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}\n`),
    );
    context.mock.timers.tick(5_000);
    const text = search.take().toString();
    assert.ok(errors.every((error) => error === undefined));
    assert.match(text, /sk-ant-api03-.*\]\}/s);
    assert.ok(JSON.stringify(search.hits).includes('KEY') || text.includes('['), 'it was searched as a text');
  });

  test('what is held back has a bound, and what has gone on is not kept', () => {
    const held = searchMemory((push) => {
      push(`data: {"text":"${KEY.slice(0, 20)}"}\n`);
      for (let i = 0; i < 40; i++) push('\n'.repeat(100_000));
    });
    assert.ok(held < 60, `${held} MB for newlines`);
    const lists = searchMemory((push) => {
      push(`data: {"text":"${KEY.slice(0, 20)}"}\n`);
      for (let i = 0; i < 8; i++) push(`data: [${Array.from({ length: 200_000 }, () => '"a"').join(',')}]\n`);
    });
    assert.ok(lists < 60, `${lists} MB for lists`);
    const gone = searchMemory((push) => {
      for (let i = 0; i < 200; i++) push(`data: {"t${i}":"s","pad":"${'x'.repeat(500_000)}"}\n`);
    });
    assert.ok(gone < 60, `${gone} MB for what has gone on`);
    const chain = searchMemory((push) => {
      for (let i = 0; i < 100; i++) push(`data: {"text":"${'x'.repeat(900_000)}${KEY.slice(0, 8)}"}\n`);
    });
    assert.ok(chain < 60, `${chain} MB for lines that release each other`);
  });

  test('what ends one secret and may begin another is blanked with the first, whenever it goes on', (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const [first, longer, loop] = ['sk-live-0123456789ab', 'sk-live-0123456789ab-more', 'sk-loop-0123456sk-lo'] as const;
    const scanner = createScanner([first, longer, loop].map((value) => ({ name: value, value: Buffer.from(value) })));
    for (const how of ['end', 'silence', 'more'])
      for (const [pieces, said] of [
        [['key: sk-live-01', '23456', '789ab'], /^key: \*{20}/],
        [['key: sk-loop-0123', '456', 'sk-lo'], /^key: \*{20}/],
      ] as const) {
        const search = createPieceSearch(scanner, () => undefined);
        const lines = createLineReader(search, () => undefined);
        const out: Buffer[] = [];
        for (const piece of pieces) {
          lines.push(Buffer.from(`data: ${JSON.stringify({ text: piece })}\n`));
          out.push(search.take());
        }
        if (how === 'silence') context.mock.timers.tick(3_000);
        if (how === 'more') lines.push(Buffer.from('data: {"text":" and so on"}\n'));
        if (how === 'end') lines.end();
        out.push(search.take());
        const text = parsed(events(Buffer.concat(out).toString()))
          .map((event) => event.text)
          .join('');
        assert.match(text, said, `${how}: ${pieces.join('|')}`);
        lines.drop();
      }
  });

  test('a line with very many texts does not make others be forgotten', () => {
    const many = JSON.stringify(Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`t${i}`, 's'])));
    const { text } = searchLines(`data: {"delta":"${KEY.slice(0, 20)}"}\n\ndata: ${many}\n\ndata: {"delta":"${KEY.slice(20)}"}\n\n`);
    assert.ok(!text.includes(KEY.slice(20)));
  });

  test('in a line where something is blanked, numbers stay as they were written', () => {
    const { text } = searchLines(
      `data: {"a":"${KEY.slice(0, 20)}"}\n\ndata: {"n":1e400,"m":12345678901234567890,"o":1.0,"a":"${KEY.slice(20)}"}\n\n`,
    );
    assert.match(text, /"n":1e400,"m":12345678901234567890,"o":1\.0,"a":"\*+"/);
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
