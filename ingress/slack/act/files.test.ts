/** What is taken of files, from a server that behaves as Slack's do, well and badly. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { createClient } from '@centaur/sdk';
import { createSlackCalls } from '../calls.ts';
import type { SlackContext } from '../context.ts';
import { readSlackSettings } from '../settings.ts';
import { isSlacks, takeFiles } from './files.ts';
import type { FileRef } from './message.ts';

let server: Server;
let other: Server;
let context: SlackContext;
const tokensSeen: Record<string, string | undefined> = {};
const PDF = '%PDF-1.7 and more';

const ANSWERS: Readonly<Record<string, (request: IncomingMessage, response: ServerResponse) => void>> = {
  '/pdf': (_, response) => response.writeHead(200, { 'content-type': 'application/pdf' }).end(PDF),
  '/moved': (_, response) => response.writeHead(302, { location: `${urlOf(other)}/taken` }).end(),
  '/gone': (_, response) => response.writeHead(404).end('no'),
  '/empty': (_, response) => response.writeHead(200).end(),
  '/sign-in': (_, response) => response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<html>sign in</html>'),
  '/silent': () => {},
  // it does not say how much is coming, and does not stop
  '/endless': (_, response) => {
    response.writeHead(200);
    const more = (): boolean => response.destroyed || response.write('x'.repeat(10_000), () => setImmediate(more));
    more();
  },
  '/cut': (_, response) => {
    response.writeHead(200, { 'content-length': '1000' });
    response.write('x', () => response.destroy());
  },
};

before(async () => {
  const serve = async (answer: (request: IncomingMessage, response: ServerResponse) => void) => {
    const started = createServer((request, response) => {
      tokensSeen[request.url ?? ''] = request.headers.authorization;
      answer(request, response);
    }).listen(0, '127.0.0.1');
    await once(started, 'listening');
    return started;
  };
  other = await serve((_, response) => response.end('elsewhere'));
  server = await serve((request, response) => ANSWERS[request.url ?? '']?.(request, response));
  const environment = {
    SLACK_BOT_TOKEN: 'xoxb-1',
    SLACK_SIGNING_SECRET: 's',
    SLACKBOT_API_KEY: 'k',
    SLACK_API_URL: `${urlOf(server)}/api`,
  };
  const settings = readSlackSettings(environment, { files: { most: 3, bytes: 50_000 } });
  context = {
    settings,
    api: createClient({ url: settings.apiUrl }),
    slack: createSlackCalls({ token: settings.botToken, apiUrl: settings.slackApiUrl, now: Date.now }),
    self: { teamId: 'T0', userId: 'U0', botId: 'B0', appId: undefined, name: 'centaur' },
    consumerId: 'test',
    log: () => {},
    now: Date.now,
  };
});
after(() => {
  for (const each of [server, other]) {
    each.closeAllConnections();
    each.close();
  }
});

const urlOf = (of: Server): string => `http://127.0.0.1:${(of.address() as AddressInfo).port}`;
const fileAt = (path: string, more: Partial<FileRef> = {}): FileRef => ({
  id: `F0${path}`,
  name: path,
  mimetype: 'application/pdf',
  size: undefined,
  url: urlOf(server) + path,
  isElsewhere: false,
  isToBeAskedFor: false,
  ...more,
});
const whyNot = async (path: string, more: Partial<FileRef> = {}) => (await takeFiles(context, [fileAt(path, more)])).refused[0]?.why;

test('a file of Slack’s is taken, with the token', async () => {
  const { parts, refused } = await takeFiles(context, [fileAt('/pdf')]);
  const source = { type: 'base64', media_type: 'application/pdf', data: Buffer.from(PDF).toString('base64') };
  assert.deepEqual([parts, refused], [[{ type: 'document', name: '/pdf', source }], []]);
  assert.equal(tokensSeen['/pdf'], 'Bearer xoxb-1');
});

test('nothing else is, and the token follows no redirect', async () => {
  assert.deepEqual(
    {
      moved: await whyNot('/moved'),
      gone: await whyNot('/gone'),
      empty: await whyNot('/empty'),
      signIn: await whyNot('/sign-in'),
      endless: await whyNot('/endless'),
      cut: await whyNot('/cut'),
      saidTooLarge: await whyNot('/pdf', { size: 50_001 }),
      elsewhere: await whyNot('/pdf', { isElsewhere: true }),
      otherHost: await whyNot('/pdf', { url: `${urlOf(other)}/pdf` }),
      nowhere: await whyNot('/pdf', { url: undefined }),
    },
    {
      moved: 'Slack did not give it out',
      gone: 'Slack did not give it out',
      empty: 'it is empty',
      signIn: 'Slack did not give it out',
      endless: 'it is larger than 48 KB',
      cut: 'it could not be fetched',
      saidTooLarge: 'it is larger than 48 KB',
      elsewhere: 'it is not kept in Slack',
      otherHost: 'it is not kept in Slack',
      nowhere: 'Slack does not say where it is',
    },
  );
  assert.equal(tokensSeen['/taken'], undefined);
});

test('no more files than are allowed', async () => {
  const { parts, refused } = await takeFiles(
    context,
    ['/pdf', '/pdf', '/pdf', '/pdf'].map((path) => fileAt(path)),
  );
  assert.deepEqual([parts.length, refused], [3, [{ name: '/pdf', why: 'only 3 files are taken of a message' }]]);
});

test('Slack’s are addresses of the Web API’s origin, and of where it keeps files', () => {
  const rows: readonly (readonly [string, boolean])[] = [
    ['https://files.slack.com/files-pri/T-F/x.png', true],
    ['https://slack.com/x', true],
    ['http://files.slack.com/x', false],
    ['https://files.slack.com:8443/x', false],
    ['https://files.slack.com.evil.example/x', false],
    ['https://files.slack.com@evil.example/x', false],
    ['https://me:x@files.slack.com/x', false],
    ['https://evil.example/files.slack.com', false],
    ['file:///etc/passwd', false],
    ['//files.slack.com/x', false],
    ['', false],
  ];
  for (const [url, expected] of rows) assert.equal(isSlacks(url, 'https://slack.com/api/'), expected, url);
});

test('all files of a message have one deadline', async () => {
  const { refused } = await takeFiles(context, [fileAt('/silent'), fileAt('/pdf')], 50);
  assert.deepEqual(
    refused.map(({ why }) => why),
    ['it could not be fetched', 'it could not be fetched'],
  );
});
