/** Personas, as threads have them: what one was when the thread was given it. */
import { createHash } from 'node:crypto';
import { nearNames, type Queryable } from '../store/index.ts';
import { ThreadError } from './errors.ts';

/** As whoever keeps personas knows one. */
export interface CataloguePersona {
  readonly prompt: string;
  /** That of its threads, unless they are asked for another; null: the installation's. */
  readonly harness: string | null;
  readonly model?: string | undefined;
  readonly effort?: string | undefined;
  /** The only tools and skills of its threads, by name; undefined: all. */
  readonly tools?: readonly string[] | undefined;
  readonly skills?: readonly string[] | undefined;
  /** Of its file. Default: of its prompt. */
  readonly sha256?: string | undefined;
}

/** As a thread keeps it until it is released. */
export interface ThreadPersona {
  readonly name: string;
  readonly sha256: string;
  readonly prompt: string;
  readonly harness: string | null;
  readonly model: string | null;
  readonly effort: string | null;
  readonly tools: readonly string[] | null;
  readonly skills: readonly string[] | null;
}

/** What a thread is assigned to. */
export interface Assigned {
  readonly harness: string;
  readonly persona: ThreadPersona | null;
  /** Instructions for this thread alone. */
  readonly override: string | null;
}

export interface Personas {
  persona(id: string): CataloguePersona | undefined;
  /** For whoever mistyped one. Default: none are told. */
  personas?(): readonly string[];
}

/** @throws ThreadError UNKNOWN_PERSONA_ID naming those that are near, or some that there are */
export function resolvePersona(catalogue: Personas, name: string): ThreadPersona {
  const found = catalogue.persona(name);
  if (found === undefined)
    throw new ThreadError('UNKNOWN_PERSONA_ID', `persona_id: there is no persona ${JSON.stringify(name)}${hint(catalogue, name)}`);
  const { prompt, harness, model, effort, tools, skills, sha256 } = found;
  return {
    name,
    sha256: sha256 ?? hashOfText(prompt),
    prompt,
    harness,
    model: model ?? null,
    effort: effort ?? null,
    tools: tools ?? null,
    skills: skills ?? null,
  };
}

const NAMED_MOST = 20;

function hint(catalogue: Personas, name: string): string {
  const known = catalogue.personas?.() ?? [];
  const near = nearNames(name, known);
  if (near.length > 0) return `; did you mean ${near.join(' or ')}?`;
  if (known.length === 0) return '';
  return `; known are ${known.slice(0, NAMED_MOST).join(', ')}${known.length > NAMED_MOST ? ' and others' : ''}`;
}

export function hashOfText(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function parsePersona(stored: string | null): ThreadPersona | null {
  return stored === null ? null : (JSON.parse(stored) as ThreadPersona);
}

/**
 * The only tools that a thread may call, by name; null: all. Of the assignment of the turn that runs, which may have been released since;
 * without one, of the latest.
 */
export async function allowedTools(store: Queryable, threadKey: string): Promise<readonly string[] | null> {
  const { rows } = await store.query<{ tools: string | null }>(
    `select a.persona -> 'tools' as tools from agent_runtime_assignments a where a.thread_key = $1
     order by exists (select from agent_execution_requests e where e.thread_key = a.thread_key and e.assignment_generation = a.assignment_generation
         and e.status in ('running', 'cancel_requested')) desc, a.assignment_generation desc limit 1`,
    [threadKey],
  );
  const [row] = rows;
  return row === undefined || row.tools === null ? null : (JSON.parse(row.tools) as readonly string[] | null);
}
