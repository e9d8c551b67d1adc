/**
 * Asking tools what they declare. Their code runs for that, so it runs without rights: no lease, no network, no secret. All tools of one
 * root share a process for each language, since one author's trust is behind a root; who ends that process or holds it is
 * asked again alone.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { plainText } from '../hosts/hosted/fields.ts';
import type { HostProcess, HostProgram } from '../hosts/hosted/launch.ts';
import { withoutTypes, writeFiles, writeView } from '../hosts/hosted/view.ts';
import type { HostTool } from '../hosts/protocol/messages.ts';
import type { ToolProblem } from '@centaur/kernel/tools';
import type { ToolFolder } from './folders.ts';

export type Answer =
  | { readonly told: HostTool }
  /** `unstarted`: that its process did not start may be nothing of the tool's. `fatal`: asking again would take long. */
  | { readonly problem: ToolProblem; readonly unstarted?: boolean; readonly fatal?: boolean };

export interface AskOptions {
  readonly root: string;
  readonly views: string;
  /** For one that is asked alone. */
  readonly loadMs: number;
  programOf(view: string): HostProgram;
  launch(program: HostProgram): Promise<HostProcess>;
  /** Aborts when nobody wants to know any more. */
  readonly signal: AbortSignal;
  /** What is left to be tidied up, and nobody waits for. */
  later(work: Promise<unknown>): void;
}

/** Until a process has loaded its first tool, which includes its start. */
const FIRST_MS = 8000;
/** From one answer to the next: hosts tell what they know every few milliseconds. */
const NEXT_MS = 3000;

export interface Told {
  /** By folder. Who is neither in here nor left ended the process, or held it, and is to be asked alone. */
  readonly answers: ReadonlyMap<string, Answer>;
  /** Not asked yet: one held the process for seconds, and there may be more of them. */
  readonly left: readonly ToolFolder[];
}

/** All of one root and language, in one process; those that do not parse in another, which says where. */
export async function askTogether(folders: readonly ToolFolder[], options: AskOptions): Promise<Told> {
  const plain = new Map(folders.map((each) => [each, withoutTypes(each.files)]));
  const parsed = folders.filter((each) => plain.get(each) !== undefined);
  const others = folders.filter((each) => plain.get(each) === undefined);
  const both = await Promise.all([
    askOnce(parsed, (each) => plain.get(each) ?? each.files, options, '.'),
    askOnce(others, (each) => each.files, options, undefined),
  ]);
  return { answers: new Map(both.flatMap(({ answers }) => [...answers])), left: both.flatMap(({ left }) => left) };
}

async function askOnce(
  folders: readonly ToolFolder[],
  filesOf: (folder: ToolFolder) => ReadonlyMap<string, Buffer | string>,
  options: AskOptions,
  stripped: string | undefined,
): Promise<Told> {
  const answers = new Map<string, Answer>();
  let left = folders;
  while (left.length > 0 && !options.signal.aborted) {
    const files = new Map(left.flatMap((each) => [...filesOf(each)]));
    const view = writeFiles(path.join(options.views, `ask-${randomUUID()}`), files);
    const program = { ...options.programOf(view), ...(stripped === undefined ? {} : { stripped }) };
    const { found, hung } = await ask(left, program, options, FIRST_MS, NEXT_MS);
    options.later(fs.promises.rm(view, { recursive: true, force: true }));
    for (const [folder, answer] of found) answers.set(folder, answer);
    // they are loaded in their order: the first that has no answer is the one that was being loaded
    left = left.filter(({ folder }) => !answers.has(folder)).slice(1);
    if (hung) break;
  }
  return { answers, left };
}

/** In a process for this one: whatever happens in there is its own doing. */
export async function askAlone(folder: ToolFolder, options: AskOptions): Promise<Answer> {
  const program = options.programOf(writeView(options.views, folder));
  const { found, ended } = await ask([folder], program, options, options.loadMs, options.loadMs);
  const file = path.join(options.root, folder.file);
  return found.get(folder.folder) ?? { problem: { file, message: `it cannot be loaded: ${ended.message}` }, fatal: true };
}

async function ask(
  folders: readonly ToolFolder[],
  program: HostProgram,
  { root, launch, later, signal }: AskOptions,
  firstMs: number,
  nextMs: number,
): Promise<{ readonly found: Map<string, Answer>; readonly ended: Error; readonly hung: boolean }> {
  const found = new Map<string, Answer>();
  let hung = false;
  const byFile = new Map(folders.map((each) => [each.file, each]));
  let host: HostProcess | undefined;
  try {
    host = await launch(program);
  } catch (error) {
    const message = `its process did not start: ${(error as Error).message}`;
    for (const { folder, file } of folders) found.set(folder, { problem: { file: path.join(root, file), message }, unstarted: true });
    return { found, ended: error as Error, hung };
  }
  const { connection } = host;
  try {
    const ended = await new Promise<Error>((resolve) => {
      const late = (ms: number) =>
        setTimeout(() => {
          hung = true;
          resolve(new Error(`it did not end loading within ${ms / 1000} s`));
        }, ms);
      let timer = late(firstMs);
      signal.addEventListener('abort', () => (clearTimeout(timer), resolve(new Error('nobody wants to know any more'))), { once: true });
      connection.attach('d', {
        lost: (reason) => {
          clearTimeout(timer);
          resolve(reason);
        },
        message(message) {
          if (message.type !== 'tool.discovery') return;
          const before = found.size;
          for (const told of arrayOf<HostTool>(message.tools)) {
            const folder = byFile.get(told?.source_path)?.folder;
            if (folder !== undefined && !found.has(folder)) found.set(folder, { told });
          }
          for (const problem of arrayOf<(typeof message.problems)[number]>(message.problems)) {
            const asked = byFile.get(problem?.asked);
            if (asked !== undefined && !found.has(asked.folder)) found.set(asked.folder, { problem: problemOf(problem, root, asked) });
          }
          if (message.done || found.size === folders.length) {
            clearTimeout(timer);
            return resolve(new Error('it did not tell what it is'));
          }
          if (found.size === before) return;
          clearTimeout(timer);
          timer = late(nextMs);
        },
      });
      connection.send({ type: 'tool.discover', run_id: 'd', files: [...byFile.keys()] });
    });
    return { found, ended, hung };
  } finally {
    later(host.stop());
  }
}

function problemOf(
  told: { readonly source_path?: unknown; readonly message?: unknown; readonly line?: unknown; readonly column?: unknown },
  root: string,
  { file, files }: ToolFolder,
): ToolProblem {
  // from the path that the process sees to the author's own
  const place = plainText(told.source_path);
  const named = [...files.keys()].find((each) => place === each || place.endsWith(`/${each}`)) ?? file;
  return {
    file: path.join(root, named),
    ...(typeof told.line === 'number' ? { line: told.line } : {}),
    ...(typeof told.column === 'number' ? { column: told.column } : {}),
    message: plainText(told.message).slice(0, 4000),
  };
}

function arrayOf<T>(value: unknown): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : [];
}
