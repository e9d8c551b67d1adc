import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Assigned, ThreadPersona } from '@centaur/kernel/threads';
import { withSkills, type WrittenSkill } from '../../test/support/skills.ts';
import { assemblePrompt, describePrompt } from './prompt.ts';
import { DEFAULT_SETTINGS } from './settings.ts';

const tool = (name: string, description = 'Does things.') => ({ name, description, version: '1' });
const PLAIN: Assigned = { harness: 'demo', persona: null, override: null };
const PERSONA: ThreadPersona = {
  name: 'brief',
  sha256: 'ab'.repeat(32),
  prompt: 'Be brief.',
  harness: null,
  model: null,
  effort: null,
  tools: null,
  skills: null,
};

const promptOf = async (assigned: Partial<Assigned>, tools = [] as ReturnType<typeof tool>[]) =>
  (await assemblePrompt({ ...PLAIN, ...assigned }, { tools: async () => tools }, undefined)).text;

/** Of a source that has these skills, and nothing else. */
function skillsOf(t: { after(end: () => void): void }, ...skills: WrittenSkill[]) {
  const source = withSkills(t, skills);
  return { ...source, systemPrompt: () => [{ layer: 'acme', text: 'We are Acme.' }] };
}

test('without persona and tools there is nothing to say', async () => {
  assert.equal(await promptOf({}), undefined);
  assert.equal(await promptOf({ persona: PERSONA }), 'Be brief.');
  assert.equal(await promptOf({ override: 'Only here.' }), 'Only here.');
});

test('tools come after the persona, with a line each', async () => {
  const prompt = (await promptOf({ persona: PERSONA }, [tool('github', 'Issues and pulls.\nLong story.'), tool('slack')])) ?? '';
  assert.match(prompt, /^Be brief\.\n\n# Tools of the platform\n/);
  assert.ok(prompt.endsWith('\n\n- github: Issues and pulls.\n- slack: Does things.'));
});

test('of many tools twenty are named, and a long description is cut', async () => {
  const tools = Array.from({ length: 25 }, (_, i) => tool(`t${i}`, 'x'.repeat(400)));
  const lines = ((await promptOf({}, tools)) ?? '').split('\n');
  assert.equal(lines.filter((line) => line.startsWith('- t')).length, 20);
  assert.equal(lines.at(-1), '- and 5 more');
  assert.ok(lines.every((line) => line.length < 200));
});

test('all parts come in one order, with their source and size', async (t) => {
  const skills = skillsOf(t, { name: 'tea', description: 'Makes tea.' });
  const view = await describePrompt(
    { harness: 'demo', persona: PERSONA, override: 'Only here.' },
    { tools: async () => [tool('shop')], skills },
    DEFAULT_SETTINGS,
  );
  assert.deepEqual(
    view.parts.map(({ kind, source, bytes, text }) => [kind, source, bytes === Buffer.byteLength(text)]),
    [
      ['system', 'acme', true],
      ['persona', 'brief abababababab', true],
      ['thread', 'agents_md_override', true],
      ['tools', 'platform', true],
      ['skills', 'platform', true],
    ],
  );
  assert.match(view.parts[4]?.text ?? '', /\n- tea: Makes tea\.$/);
  assert.equal(view.bytes, Buffer.byteLength(view.parts.map(({ text }) => text).join('\n\n')));
  assert.deepEqual([view.tools, view.skills.map(({ name }) => name)], [['shop'], ['tea']]);
});

test('a harness that looks for skills itself is not told of them twice', async (t) => {
  const skills = skillsOf(t, { name: 'tea', description: 'Makes tea.' });
  for (const harness of ['claude', 'codex', 'pi', 'amp']) {
    const { parts, skills: given } = await assemblePrompt({ ...PLAIN, harness }, { skills }, undefined);
    assert.deepEqual([parts.map(({ kind }) => kind), given.length], [['system'], 1], harness);
  }
});

test('a persona says which model, and limits tools and skills to those that it names', async (t) => {
  const skills = skillsOf(t, { name: 'tea', description: 'Makes tea.' }, { name: 'coffee', description: 'Makes coffee.' });
  const persona = { ...PERSONA, model: 'small', effort: 'low', tools: ['shop', 'gone'], skills: ['tea'] };
  const view = await describePrompt({ ...PLAIN, persona }, { tools: async () => [tool('shop'), tool('mail')], skills }, DEFAULT_SETTINGS);
  assert.deepEqual([view.model, view.effort, view.tools, view.skills.map(({ name }) => name)], ['small', 'low', ['shop'], ['tea']]);
  assert.deepEqual(view.missing, { tools: ['gone'], skills: [] });
  assert.doesNotMatch(view.parts.map(({ text }) => text).join('\n'), /mail|coffee/);
  const none = await describePrompt(
    { ...PLAIN, persona: { ...persona, tools: [], skills: [] } },
    { tools: async () => [tool('shop')], skills },
    DEFAULT_SETTINGS,
  );
  assert.deepEqual(
    none.parts.map(({ kind }) => kind),
    ['system', 'persona'],
  );
});
