/** The platform's tools in a real sandbox: by MCP and as commands, asked directly and with the thread's own token. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { castVote, listApprovals, publishPolicy } from '../../kernel/policy/index.ts';
import { createTestAgents, type TestAgents } from '../../test/support/agents.ts';
import { addGrant, ownSecretName, putSecret } from '../../kernel/vault/index.ts';
import type { Tools } from '../../kernel/tools/index.ts';
import { createToolsServer } from '../../test/support/tools-server.ts';
import { SHOP } from '../../test/support/tools.ts';
import { prepareToolsApi } from '../../test/support/tools-api.ts';
import { person } from '../../test/support/people.ts';
import { eventually } from '../../test/support/wait.ts';
import type { AvailableTool } from './prompt.ts';

const ECHO: AvailableTool = { name: 'echoes', description: 'Says things back.\nAnd more.', version: '1' };
const SED: AvailableTool = { ...ECHO, name: 'sed' };

async function startServer() {
  const say = {
    description: 'Says it back.',
    input: { type: 'object', properties: { text: { type: 'string' }, times: { type: 'integer', default: 1 } }, required: ['text'] },
    run: ({ text, times = 1 }: Readonly<Record<string, unknown>>) => ({ said: String(text).repeat(Number(times)) }),
  };
  const echo = { description: ECHO.description, methods: { say } };
  return createToolsServer({ echoes: echo, sed: { ...echo, description: 'Named like a program.' } }, (token) => token.startsWith('ct_'));
}

async function output(t: TestAgents, executionId: string): Promise<string> {
  await t.ended(executionId);
  const events = await t.events('a');
  return events
    .filter(({ kind, data }) => kind === 'tool_result' && data['execution_id'] === executionId)
    .flatMap(({ data }) => (data['content'] as { text: string }[]).map(({ text }) => text))
    .join('\n');
}

test('an agent calls tools by MCP and as commands, and the firewall hears nothing of it', async () => {
  await using server = await startServer();
  await using t = await createTestAgents({ api: new URL(server.url).host, tools: [ECHO, SED] });
  const run = async (script: string): Promise<string> => output(t, await t.say('a', script));

  assert.equal(await run('tool: mcp__centaur__echoes_say {"text":"ah"}'), '{"said":"ah"}');
  assert.ok((await t.events('a')).some(({ kind, data }) => kind === 'tool_use' && data['name'] === 'mcp:centaur/echoes_say'));
  assert.equal(await run('run: echoes say --text oh --times 2'), '{"said":"ohoh"}');
  // the name of a program stays that of the program
  assert.equal(await run('run: echo abc | sed s/b/x/'), 'axc');
  assert.equal(await run('run: centaur-tools sed say --text=--uh'), '{"said":"--uh"}');
  const list = await run('run: centaur-tools list');
  assert.match(list, /^echoes +Says things back\.$/m);
  assert.match(list, /^sed +Named like a program\. \(as: centaur-tools sed\)$/m);
  // a tool that came and one that went
  const gone = server.tools.get('echoes');
  server.tools.delete('echoes');
  server.tools.set('shouts', gone as NonNullable<typeof gone>);
  const changed = await run('run: centaur-tools refresh; shouts say --text hey; echoes say --text oh; echo $?');
  assert.match(changed, /1 of 2 tools are commands\.\n\{"said":"hey"\}\n.*not found\n127/s);

  assert.deepEqual([...new Set(server.requests.map(({ host }) => host))], ['relay.internal:3129']);
  const { rows } = await t.trust.store.query<{ text: string }>(`select string_agg(entry, ' ') as text from audit_log`);
  assert.ok(!(rows[0]?.text ?? '').includes('relay.internal'));
});

test('what agents are told of tools changes with the tools, and the session goes on', async () => {
  await using server = await startServer();
  const tools = [ECHO];
  await using t = await createTestAgents({ api: new URL(server.url).host, tools });
  await t.ended(await t.say('a', 'say: remember this'));
  const prompt = 'run: cat ~/.centaur/persona.md; echo; ls ~/.centaur/bin';
  const before = await output(t, await t.say('a', prompt));
  assert.match(before, /^- echoes: Says things back\.$/m);
  assert.match(before, /centaur-tools\nechoes$/);
  tools.push({ ...ECHO, name: 'whispers' });
  const after = await output(t, await t.say('a', prompt));
  assert.match(after, /^- whispers: Says things back\.$/m);
  assert.match(after, /centaur-tools\nechoes\nwhispers$/);
  assert.match((await t.ended(await t.say('a', 'recall'))).result_text ?? '', /remember this/);
  assert.equal((await t.worker.sandboxes.list()).length, 1);
});

test('an agent that deletes its home has it again in the next turn, with its tools and the way out, and knows what it knew', async () => {
  await using server = await startServer();
  await using t = await createTestAgents({ api: new URL(server.url).host, tools: [ECHO] });
  await t.ended(await t.say('a', 'say: the word is marzipan'));
  const deleted = await t.ended(await t.say('a', 'run: rm -rf ~ /tmp /workspace 2>/dev/null; ls -A ~ | wc -l'));
  assert.equal(deleted.status, 'completed', deleted.error_text ?? '');
  assert.match(deleted.result_text ?? '', /\n0$/, 'it was gone');
  assert.equal(
    await output(t, await t.say('a', 'run: echoes say --text hey; head -n 1 "$SSL_CERT_FILE"')),
    '{"said":"hey"}\n-----BEGIN CERTIFICATE-----',
  );
  assert.match((await t.ended(await t.say('a', 'recall'))).result_text ?? '', /marzipan/);
  assert.equal((await t.worker.sandboxes.list()).length, 1, 'in the sandbox where it was');
});

test('an agent that puts something in the way of what belongs into its home gets a fresh sandbox, and knows what it knew', async () => {
  await using t = await createTestAgents();
  await t.ended(await t.say('a', 'say: the word is marzipan'));
  for (const deed of ['rm -rf ~/.centaur; touch ~/.centaur', 'rm ~/.centaur/ca.pem; mkdir ~/.centaur/ca.pem', 'chmod 000 ~/.centaur']) {
    await t.ended(await t.say('a', `run: ${deed}`));
    const { status, error_text, result_text } = await t.ended(await t.say('a', 'recall'));
    assert.equal(status, 'completed', `${deed}: ${error_text}`);
    assert.match(result_text ?? '', /marzipan/, deed);
  }
  assert.equal((await t.worker.sandboxes.list()).length, 1);
});

test('where there are no tools, nothing is said of them and nothing is there', async () => {
  await using t = await createTestAgents();
  assert.equal(await output(t, await t.say('a', 'run: ls ~/.centaur | sort')), 'ca.pem\ndemo.mjs');
});

test('with the platform’s own API: its policy decides for the thread, whichever way it is asked', async () => {
  await using agents = new AsyncDisposableStack();
  const api = await prepareToolsApi();
  const t = agents.use(await createTestAgents({ api: api.address, tools: [SHOP_TOOL] }));
  agents.use(api);
  api.runner.serve(SHOP);
  await api.open(t);
  const { installation, store } = t.trust;
  const run = async (script: string): Promise<string> => output(t, await t.say('a', script));

  const text = `version: 1
default: deny
rules:
  - {id: model, host: "*", effect: allow, when: request.credentialed}
  - {id: harmless, tool: "*", effect: allow, when: 'tool.risk == "read" || tool.risk == "write"'}
  - {id: ask, tool: "*", effect: approve, when: 'tool.risk == "destructive"'}
  - {id: no-tea, tool: shop.create, effect: deny, when: 'args.item == "tea"', message: No tea.}
`;
  await publishPolicy(installation, 'user:ada', { text });
  assert.equal(await run('tool: mcp__centaur__shop_list {"status":"open"}'), '{"args":{"status":"open","limit":10}}');
  assert.equal(await run('run: shop create --item coffee'), '{"args":{"item":"coffee"}}');
  assert.match(await run('run: shop create --item tea'), /^shop create: No tea\. \(POLICY_DENIED\)\n\[exit code 3\]$/);
  assert.match(await run('tool: mcp__centaur__shop_create {"item":"tea"}'), /POLICY_DENIED/);
  assert.match(await run(`run: shop create '{"item":7}'`), /--item: expected a string.*\[exit code 2\]/s);
  assert.match(await run('run: shop remove --help'), /centaur-tools call shop remove \[--key value \.\.\.\]/);
  const removing = await t.say('a', 'run: shop remove --id 7');
  const approval = await eventually(async () => (await listApprovals(store, { state: 'pending' })).items[0]);
  await castVote(installation, person('ann'), approval.approval_id, { verdict: 'approve', reason: 'yes', channel: 'api' });
  assert.equal(await output(t, removing), '{"args":{"id":"7"}}');
  assert.deepEqual([...new Set(api.runner.dispatched.map(({ caller }) => caller.threadKey))], ['a']);
});

test('a tool for which only one user has an account is told of and called in the turns that are that user’s alone', async () => {
  await using agents = new AsyncDisposableStack();
  const api = await prepareToolsApi();
  const opened: { tools?: Tools } = {};
  // as the server does it
  const toolsFor = async (user: string | undefined) =>
    ((await opened.tools?.listFor(user)) ?? []).filter(({ missingSecrets }) => missingSecrets.length === 0).map(({ tool }) => tool);
  const t = agents.use(await createTestAgents({ api: api.address, toolsFor }));
  agents.use(api);
  api.runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_KEY', hosts: ['shop.example.com'] }] }, { ...SHOP, name: 'cafe' });
  opened.tools = await api.open(t);
  const { installation } = t.trust;
  const own = ownSecretName('SHOP_KEY', 'ana');
  await putSecret(installation, 'test', own, { hosts: ['shop.example.com'], value: 'the-key-of-ana-alone' });
  await addGrant(installation, 'test', 'user:ana', own);
  const { assignment_generation } = await t.threads.spawn({ thread_key: 'a' });
  const run = async (text: string, user_id: string): Promise<string> => {
    await t.threads.message({ thread_key: 'a', assignment_generation, parts: [{ type: 'text', text }], user_id });
    return output(t, (await t.threads.execute({ thread_key: 'a', assignment_generation, user_id })).execution_id);
  };
  const told = 'run: cat ~/.centaur/persona.md; type shop';
  assert.match(await run(told, 'ana'), /^- cafe: A shop\.\n- shop: A shop\.shop is \S+\/shop$/m);
  assert.equal(await run('tool: mcp__centaur__shop_list {"status":"open"}', 'ana'), '{"args":{"status":"open","limit":10}}');
  assert.equal(await run('run: shop create --item coffee', 'ana'), '{"args":{"item":"coffee"}}');
  const calls = api.runner.dispatched.length;
  assert.match(await run(told, 'bo'), /^- cafe: A shop\..*shop: not found/m);
  assert.match(await run('run: centaur-tools call shop create --item tea', 'bo'), /TOOL_NOT_READY/);
  assert.deepEqual([api.runner.dispatched.length, new Set(api.runner.dispatched.map((call) => call.own?.user))], [calls, new Set(['ana'])]);
});

const SHOP_TOOL: AvailableTool = { name: 'shop', description: 'A shop.', version: '1' };
