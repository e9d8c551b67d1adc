/**
 * What an agent is told besides its own instructions, put together in one place: whoever shows it, shows all of it. Its parts, in their
 * order: texts for all agents, the persona, instructions for the thread, the tools, the skills of a harness that does not look for them.
 */
import { createHash } from 'node:crypto';
import type { Assigned, PromptView } from '@centaur/kernel/threads';
import { type HarnessKind, harnesses } from '../harness/index.ts';
import type { Skill, SkillSource } from '../skills/types.ts';
import type { HarnessSetting } from './settings.ts';

/** A tool that is in service. */
export interface AvailableTool {
  readonly name: string;
  readonly description: string;
  /** Changes with its code. */
  readonly version: string;
}

/** What there is for agents, as things are now. */
export interface AgentResources {
  /** Those that can be called for this user; undefined: with everybody's accounts alone. */
  readonly tools?: (user: string | undefined) => Promise<readonly AvailableTool[]>;
  readonly skills?: SkillSource;
}

export interface Assembly {
  readonly parts: PromptView['parts'];
  /** Undefined when there is nothing to say. */
  readonly text: string | undefined;
  /** What the thread's agent may call, and the skills whose files it gets. */
  readonly tools: readonly AvailableTool[];
  readonly skills: readonly Skill[];
  readonly missing: PromptView['missing'];
}

/** So many are named; of more, agents are told how many there are. */
const NAMED = 20;
const LONGEST_LINE = 160;

/** @param user whose turn it is, where it is one user's alone */
export async function assemblePrompt(
  { harness, persona, override }: Assigned,
  resources: AgentResources,
  user: string | undefined,
): Promise<Assembly> {
  const tools = choose((await resources.tools?.(user)) ?? [], persona?.tools);
  const skills = choose(resources.skills?.skills() ?? [], persona?.skills);
  const tells = harnesses[harness as HarnessKind].launch.skills.announced ? [] : skills.chosen;
  const parts = [
    ...(resources.skills?.systemPrompt() ?? []).map(({ layer, text }) => part('system', layer, text)),
    part('persona', persona === null ? '' : `${persona.name} ${persona.sha256.slice(0, 12)}`, persona?.prompt ?? ''),
    part('thread', 'agents_md_override', override ?? ''),
    part('tools', 'platform', describeTools(tools.chosen)),
    part('skills', 'platform', describeSkills(tells)),
  ].filter(({ text }) => text.trim() !== '');
  return {
    parts,
    text: parts.length === 0 ? undefined : parts.map(({ text }) => text).join('\n\n'),
    tools: tools.chosen,
    skills: skills.chosen,
    missing: { tools: tools.missing, skills: skills.missing },
  };
}

/** For whoever wants to see it. */
export async function describePrompt(
  assigned: Assigned,
  resources: AgentResources,
  settings: Readonly<Record<HarnessKind, HarnessSetting>>,
  user?: string,
): Promise<Omit<PromptView, 'thread_key'>> {
  const { parts, text, tools, skills, missing } = await assemblePrompt(assigned, resources, user);
  const { harness, persona } = assigned;
  return {
    harness,
    model: persona?.model ?? settings[harness as HarnessKind].model ?? null,
    effort: persona?.effort ?? null,
    persona: persona === null ? null : { name: persona.name, sha256: persona.sha256 },
    sha256: text === undefined ? null : createHash('sha256').update(text).digest('hex'),
    bytes: Buffer.byteLength(text ?? ''),
    parts,
    tools: tools.map(({ name }) => name),
    skills: skills.map(({ name, description, source, version, bytes }) => ({ name, description, source, version, bytes })),
    missing,
  };
}

function part(kind: PromptView['parts'][number]['kind'], source: string, text: string): PromptView['parts'][number] {
  return { kind, source, bytes: Buffer.byteLength(text), text };
}

/** @param names the only ones; all without them */
function choose<T extends { readonly name: string }>(
  all: readonly T[],
  names: readonly string[] | null | undefined,
): { readonly chosen: readonly T[]; readonly missing: readonly string[] } {
  if (names === null || names === undefined) return { chosen: all, missing: [] };
  const known = new Set(all.map(({ name }) => name));
  return { chosen: all.filter(({ name }) => names.includes(name)), missing: names.filter((name) => !known.has(name)) };
}

function describeTools(tools: readonly AvailableTool[]): string {
  if (tools.length === 0) return '';
  return [
    '# Tools of the platform',
    '',
    'They act outside of this sandbox, with credentials that are not in it. Call them as tools of `centaur`, or in the shell:',
    '`centaur-tools list` shows all, `centaur-tools help TOOL [METHOD]` how one is called, and `centaur-tools call TOOL METHOD --key value`',
    'calls it; most are also commands of their own, `TOOL METHOD --key value`. A call that needs a person is held while one is asked;',
    'if it comes back with APPROVAL_REQUIRED, make the same call again later. One that is denied stays denied.',
    '',
    ...lines(tools),
  ].join('\n');
}

function describeSkills(skills: readonly Skill[]): string {
  if (skills.length === 0) return '';
  return [
    '# Skills',
    '',
    'Instructions for particular tasks, each in `.agents/skills/NAME/SKILL.md` of the working folder. Read that file before you do what its',
    'line here is about. Paths in it are relative to its folder.',
    '',
    ...lines(skills),
  ].join('\n');
}

function lines(described: readonly { readonly name: string; readonly description: string }[]): string[] {
  const named = described.slice(0, NAMED).map(({ name, description }) => `- ${name}: ${oneLine(description)}`);
  const more = described.length - named.length;
  return [...named, ...(more > 0 ? [`- and ${more} more`] : [])];
}

function oneLine(text: string): string {
  const line = text.trim().split('\n', 1)[0] ?? '';
  return line.length <= LONGEST_LINE ? line : `${line.slice(0, LONGEST_LINE - 1).toWellFormed()}…`;
}
