import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SocketModeClient, type SocketModeOptions } from '@slack/socket-mode';
import { eventually } from '../wait.ts';
import { type Slack, startSlack } from './index.ts';
import { client, refused, SILENT } from './sdk.ts';

interface Envelope {
  readonly ack: (answer?: object) => Promise<void>;
  readonly type: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- payloads of many shapes
  readonly body: any;
  readonly retry_num?: number;
  readonly retry_reason?: string;
}

/** Slack's own client for Socket Mode, connected. */
async function connect(
  slack: Slack,
  hear: (envelope: Envelope) => void | Promise<void>,
  options: Omit<SocketModeOptions, 'appToken'> = {},
): Promise<AsyncDisposable> {
  const socket = new SocketModeClient({
    appToken: slack.appToken,
    logger: SILENT,
    clientOptions: { slackApiUrl: slack.apiUrl },
    ...options,
  });
  socket.on('slack_event', hear);
  await socket.start();
  return {
    async [Symbol.asyncDispose]() {
      await socket.disconnect();
    },
  };
}

test("Slack's own client gets events, interactions and commands, and answers them", async () => {
  await using slack = await startSlack({ delivery: 'socket' });
  assert.equal((await refused(client(slack).apps.connections.open({}))).error, 'not_allowed_token_type');
  const got: string[] = [];
  await using sockets = new AsyncDisposableStack();
  sockets.use(
    await connect(slack, async ({ ack, type, body }) => {
      got.push(`${type} ${body.event?.type ?? body.type ?? body.command}`);
      await (type === 'slash_commands' ? ack({ text: `you said ${String(body.text)}` }) : ack());
    }),
  );
  const ada = slack.person('ada');
  ada.mention('general', 'hello');
  await slack.delivery.settled();
  const blocks = [{ type: 'actions', elements: [{ type: 'button', text: { type: 'plain_text', text: 'Stop' }, action_id: 'stop' }] }];
  const { ts } = (await client(slack).chat.postMessage({ channel: slack.channel('general'), text: 'x', blocks })) as {
    ts: string;
  };
  await slack.delivery.settled();
  const clicked = await ada.click('general', ts, 'stop');
  assert.equal(clicked.acknowledged, true);
  await ada.command('general', '/centaur', 'list');
  assert.deepEqual(got.toSorted(), [
    'events_api app_mention',
    'events_api message',
    'events_api message',
    'interactive block_actions',
    'slash_commands /centaur',
  ]);
  assert.deepEqual(
    slack.see.ephemerals(ada.id).map(({ text }) => text),
    ['you said list'],
  );
});

test('what is not acknowledged comes again, over another connection too', async () => {
  await using slack = await startSlack({ delivery: 'socket', retryMs: [0, 50, 50] });
  const got: (number | undefined)[] = [];
  await using sockets = new AsyncDisposableStack();
  sockets.use(await connect(slack, ({ retry_num: num }) => void got.push(num)));
  sockets.use(
    await connect(slack, async ({ ack, retry_num: num }) => {
      got.push(num);
      await ack();
    }),
  );
  assert.equal(slack.socketMode.connections, 2);
  for (const text of ['a', 'b']) slack.person('ada').post('general', text);
  await slack.delivery.settled();
  assert.ok(slack.delivery.all.every(({ state }) => state === 'acknowledged'));
  assert.deepEqual(
    got.toSorted((one = 0, other = 0) => one - other),
    [0, 0, 1],
  );
});

test('the client connects anew when Slack says so, and misses nothing', async () => {
  await using slack = await startSlack({ delivery: 'socket', ackMs: 60_000 });
  const texts: string[] = [];
  await using sockets = new AsyncDisposableStack();
  sockets.use(
    await connect(
      slack,
      async ({ ack, body }) => {
        texts.push(body.event.text);
        await ack();
      },
      // how long it waits before it connects again; a process that stood still for as long is taken for a line that broke
      { clientPingTimeout: 2000 },
    ),
  );
  slack.socketMode.disconnect('refresh_requested', { afterMs: 100 });
  assert.equal(slack.socketMode.connections, 0);
  slack.person('ada').post('general', 'meanwhile');
  await eventually(() => slack.socketMode.connections === 1);
  await slack.delivery.settled();
  assert.deepEqual(texts, ['meanwhile']);
});

test('ten connections, not eleven', async () => {
  await using slack = await startSlack({ delivery: 'socket' });
  const app = client(slack, slack.appToken);
  const open = async () => {
    const { url } = (await app.apps.connections.open({})) as { url: string };
    const socket = new WebSocket(url);
    const said = new Promise<{ type: string; reason?: string }>((resolve) => {
      socket.addEventListener('message', ({ data }) => resolve(JSON.parse(String(data)) as { type: string; reason?: string }));
    });
    return { socket, said: await said, url };
  };
  const all = [];
  for (let i = 0; i < 10; i += 1) all.push(await open());
  assert.ok(all.every(({ said }) => said.type === 'hello'));
  assert.partialDeepStrictEqual((await open()).said, { type: 'disconnect', reason: 'too_many_websockets' });
  // a ticket is good for one connection
  const again = new WebSocket(all[0]?.url ?? '');
  await new Promise((resolve) => again.addEventListener('error', resolve));
  for (const { socket } of all) socket.close();
});
