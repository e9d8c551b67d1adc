/** `/centaur …` in an emulated Slack, against a real API. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { addPerson, type Person } from '../../test/support/people.ts';
import { createBotPlace, type TestBotPlace } from '../../test/support/slack-bot.ts';
import { eventually } from '../../test/support/wait.ts';

let place: TestBotPlace;
let ann: Person;
let vic: Person;

before(async () => {
  place = await createBotPlace({ people: ['ada', 'grace', 'eve'], channels: ['general', 'other'] });
  ann = await addPerson(place.api, 'ann', 'operator');
  vic = await addPerson(place.api, 'vic', 'viewer');
  await place.start();
});
after(() => place[Symbol.asyncDispose]());

/** What they are told, and nobody else. */
async function say(name: string, text: string, channel = 'general'): Promise<string> {
  const person = place.slack.person(name);
  const before = place.slack.see.ephemerals(person.id).length;
  const { acknowledged } = await person.command(channel, '/centaur', text);
  assert.ok(acknowledged);
  const told = await eventually(() => place.slack.see.ephemerals(person.id)[before], { what: `an answer to ${text}` });
  return told.text;
}

async function link(name: string, whose: Person): Promise<void> {
  const { code } = (await place.api.call('POST', '/chats/links/codes', { platform: 'slack' }, whose.as)).body;
  assert.match(await say(name, `link ${code}`), /confirm that `U\w+` is you/);
  const account = { platform: 'slack', team: place.slack.team.id, external_user: place.slack.person(name).id };
  assert.equal((await place.api.call('POST', '/chats/links/confirm', account, whose.as)).body.user, whose.name);
}

const runs = async () =>
  (await place.api.call('GET', '/workflows/runs')).body.items as { workflow_name: string; started_by: string; trigger_key: string }[];

test('says what there is, and what it does not know', async () => {
  assert.match(await say('ada', ''), /run <name>|run &lt;name&gt;/);
  assert.match(await say('ada', 'help'), /whoami/);
  assert.match(await say('ada', 'frobnicate <!channel>'), /There is no `\/centaur frobnicate`/);
  assert.match(await say('ada', 'constructor'), /There is no/);
});

test('who is linked to nobody starts nothing and sees nothing', async () => {
  assert.match(await say('eve', 'whoami'), /linked to nobody/);
  for (const command of ['run greet {"name": "x"}', 'workflows', 'runs']) assert.match(await say('eve', command), /you have to be linked/i);
  assert.match(await say('eve', 'link ABCD-EFGH'), /did not work/);
  assert.deepEqual(await runs(), []);
});

test('a viewer sees, and starts nothing', async () => {
  await link('grace', vic);
  assert.match(await say('grace', 'whoami'), /\*vic\* \(viewer\)/);
  assert.match(await say('grace', 'workflows'), /`greet`/);
  assert.match(await say('grace', 'run greet {"name": "x"}'), /you are viewer/);
  assert.deepEqual(await runs(), []);
});

test('an operator starts a run, which is theirs', async () => {
  await link('ada', ann);
  assert.match(await say('ada', 'run greet {"name": “Ada”}'), /Started `greet`/);
  const [run, ...more] = await runs();
  assert.equal(more.length, 0);
  // whoever starts a run approves nothing that comes of it: it is not the bot's
  assert.equal(run?.started_by, 'user:ann');
  assert.match(run?.trigger_key ?? '', /^slack:/);
  assert.match(await say('ada', 'runs'), /`greet`/);
  assert.match(await say('ada', 'run greet {"name": 1}'), /did not work.*greet/s);
  assert.match(await say('ada', 'run greet {name'), /not JSON/);
  assert.match(await say('ada', 'run nothing_such'), /UNKNOWN_WORKFLOW/);
  assert.match(await say('ada', 'run'), /Which one/);
  assert.equal((await runs()).length, 1);
});

test('the API holds a bot to that, whatever the bot asks', async () => {
  const bot = await place.api.keyWith('workflows:*', 'chats.use');
  const other = await place.api.keyWith('workflows:*');
  const start = (asked_by: string, key: string) =>
    place.api.call('POST', '/workflows/runs', { workflow_name: 'other', asked_by }, { key }).then(({ status }) => status);
  const team = place.slack.team.id;
  const id = (name: string) => `slack:${team}:${place.slack.person(name).id}`;
  assert.equal(await start(id('ada'), other), 403);
  assert.equal(await start(id('grace'), bot), 403);
  assert.equal(await start(id('eve'), bot), 403);
  assert.equal(await start('user:ann', bot), 422);
  assert.equal(await start(id('ada'), bot), 201);
});

test('shows what runs in the channel, and ends it', async () => {
  const finish = Promise.withResolvers<void>();
  place.threads.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await finish.promise;
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
  assert.match(await say('ada', 'status'), /Nothing runs/);
  assert.match(await say('ada', 'stop'), /Nothing runs/);
  const { channel, ts } = place.slack.person('ada').mention('general', 'take your time');
  const key = encodeURIComponent(`slack:${channel}:${ts}`);
  await eventually(async () => (await place.api.call('GET', `/agent/threads/${key}`)).body.active_execution_id, { what: 'a turn' });
  assert.match(await say('ada', 'status'), new RegExp(`${channel}-${ts}`));
  assert.match(await say('ada', 'status', 'other'), /Nothing runs/);
  const url = `https://acme.slack.com/archives/${channel}/p${ts.replace('.', '')}`;
  assert.match(await say('ada', `stop ${url}`, 'other'), /no link to a thread of this channel/);
  assert.match(await say('ada', `stop ${url}`), /told to stop/);
  finish.resolve();
});
