/** Skills and personas in a real sandbox. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createTestAgents, type TestAgents } from '../../test/support/agents.ts';
import { makeFolder, skillsAt, skillText, write } from '../../test/support/skills.ts';

const TEA = { name: 'tea', description: 'Makes tea.' };

async function output(t: TestAgents, executionId: string): Promise<string> {
  assert.equal((await t.ended(executionId)).status, 'completed');
  return (await t.events('a'))
    .filter(({ kind, data }) => kind === 'tool_result' && data['execution_id'] === executionId)
    .flatMap(({ data }) => (data['content'] as { text: string }[]).map(({ text }) => text))
    .join('\n');
}

test('skills are where harnesses look, and change with the next turn; the sandbox stays', async (test) => {
  const folder = makeFolder(test);
  write(folder, { '.agents/skills/tea/SKILL.md': skillText(TEA), '.agents/skills/tea/scripts/boil.sh': '#!/bin/sh\necho hot\n' });
  const skills = skillsAt({ layers: [folder] });
  await using t = await createTestAgents({ skills });
  const run = async (text: string): Promise<string> => output(t, await t.say('a', text));

  assert.equal(await run('run: cd /workspace/.agents/skills/tea && head -2 SKILL.md && ./scripts/boil.sh'), '---\nname: tea\nhot');
  assert.match(await run('run: cat ~/.centaur/persona.md'), /^# Skills\n[^]*\n- tea: Makes tea\.$/);
  // what an agent does to its copy, and what it has put there itself
  await run(
    'run: cd /workspace/.agents/skills; echo broken > tea/SKILL.md; mkdir mine cup; echo own > mine/SKILL.md; echo own > cup/SKILL.md; ln -s /etc etc',
  );
  write(folder, { '.agents/skills/cup/SKILL.md': skillText({ ...TEA, name: 'cup' }) });
  skills.reload();
  assert.equal(
    await run('run: cd /workspace/.agents/skills; head -2 tea/SKILL.md; cat cup/SKILL.md mine/SKILL.md; ls'),
    '---\nname: tea\nown\nown\ncup\netc\nmine\ntea',
  );
  rmSync(path.join(folder, '.agents'), { recursive: true });
  skills.reload();
  assert.equal(await run('run: ls /workspace/.agents/skills; ls ~/.centaur/skills | wc -l'), 'cup\netc\nmine\n0');
  assert.equal((await t.worker.sandboxes.list()).length, 1);
});

test('an agent that has broken the place of its skills has none, and goes on', async (test) => {
  const folder = makeFolder(test);
  write(folder, { 'tea/SKILL.md': skillText(TEA) });
  const skills = skillsAt({ skillDirs: [folder] });
  await using t = await createTestAgents({ skills });
  await output(t, await t.say('a', 'run: cd /workspace; rm -r .agents; echo > .agents; cd ~/.centaur; rm -r skills; ln -s /tmp skills'));
  write(folder, { 'cup/SKILL.md': skillText({ ...TEA, name: 'cup' }) });
  skills.reload();
  assert.equal((await t.ended(await t.say('a', 'say: still here'))).result_text, 'still here');
  // a link in the place of its folder was not gone through
  assert.match(
    await output(t, await t.say('a', 'run: ls -d ~/.centaur/skills/*/cup; ls /tmp; wc -c /workspace/.agents')),
    /\/skills\/[\w-]+\/cup\n1 /,
  );
});

test('a persona’s prompt and its skills are the thread’s, and no other’s', async (test) => {
  const folder = makeFolder(test);
  write(folder, {
    '.agents/skills/tea/SKILL.md': skillText(TEA),
    '.agents/skills/cup/SKILL.md': skillText({ ...TEA, name: 'cup' }),
    'personas/butler.md': '---\nharness: demo\nskills: [tea]\n---\nYou are a butler.\n',
    'SYSTEM_PROMPT.md': 'We are Acme.',
  });
  const skills = skillsAt({ layers: [folder] });
  await using t = await createTestAgents({ skills });
  const told = await output(t, await t.say('a', 'run: cat ~/.centaur/persona.md; ls /workspace/.agents/skills', { persona_id: 'butler' }));
  assert.match(told, /^We are Acme\.\n\nYou are a butler\.\n\n# Skills\n[^]*\n- tea: Makes tea\.tea$/);
  await t.threads.release({ thread_key: 'a' });
  const plain = await output(t, await t.say('a', 'run: cat ~/.centaur/persona.md; ls /workspace/.agents/skills'));
  assert.doesNotMatch(plain, /butler/);
  assert.match(plain, /cup\ntea$/);
});

test('skills that are too large end the turn, and cost nobody the workspace', async (test) => {
  const folder = makeFolder(test);
  write(folder, { 'tea/SKILL.md': skillText(TEA) });
  const skills = skillsAt({ skillDirs: [folder] });
  await using t = await createTestAgents({ skills });
  await output(t, await t.say('a', 'run: echo mine > /workspace/kept'));
  for (let index = 0; index < 9; index++)
    write(folder, {
      [`cup${index}/SKILL.md`]: skillText({ ...TEA, name: `cup${index}` }),
      [`cup${index}/tea.bin`]: Buffer.alloc(3_900_000),
    });
  skills.reload();
  const { status, error_text } = await t.ended(await t.say('a', 'run: cat /workspace/kept'));
  assert.deepEqual([status, /are the most/.test(error_text ?? '')], ['failed_permanent', true], error_text ?? '');
  rmSync(path.join(folder, 'cup0'), { recursive: true });
  skills.reload();
  assert.equal(await output(t, await t.say('a', 'run: cat /workspace/kept')), 'mine');
});
