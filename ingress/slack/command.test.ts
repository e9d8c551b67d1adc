/** What becomes of a command whose answer does not arrive. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createClient } from '@centaur/sdk';
import { createSlackCalls } from './calls.ts';
import { actOnCommand } from './command.ts';
import type { SlackContext } from './context.ts';
import { readSlackSettings } from './settings.ts';

/** Acts on `/centaur help`, with a Slack that answers each answer with the next of these; the last one again and again. */
async function answered(...statuses: readonly number[]): Promise<{ readonly asked: number; readonly logs: readonly string[] }> {
  let asked = 0;
  const server = createServer((_, response) => response.writeHead(statuses[Math.min(asked++, statuses.length - 1)] ?? 500).end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const environment = { SLACK_BOT_TOKEN: 'xoxb-1', SLACK_SIGNING_SECRET: 's', SLACKBOT_API_KEY: 'k', SLACK_API_URL: `${url}/api` };
  const settings = readSlackSettings(environment, undefined);
  const logs: string[] = [];
  const context: SlackContext = {
    settings,
    api: createClient({ url: settings.apiUrl }),
    slack: createSlackCalls({ token: settings.botToken, apiUrl: settings.slackApiUrl, now: Date.now }),
    self: { teamId: 'T0', userId: 'U0', botId: 'B0', appId: undefined, name: 'centaur' },
    consumerId: 'test',
    log: (entry) => logs.push(JSON.stringify(entry)),
    now: Date.now,
  };
  const said = { text: 'help', channel_id: 'C1', user_id: 'U1', team_id: 'T0', trigger_id: '1.2', response_url: `${url}/hooks/secret` };
  try {
    await actOnCommand(context, { kind: 'command', command: said, at: 1 });
  } finally {
    server.close();
  }
  return { asked, logs };
}

test('an answer that does not arrive is given again, and the command is over all the same', async () => {
  assert.deepEqual(await answered(500, 200), { asked: 2, logs: [] });
  assert.deepEqual(await answered(404), { asked: 1, logs: [] });
  const { asked, logs } = await answered(500);
  assert.equal(asked, 3);
  assert.match(logs.join(), /could not be given.*refused with 500/);
  assert.doesNotMatch(logs.join(), /secret/);
});
