/**
 * How agents reach the platform's tools from inside their sandboxes, where their CLI speaks no MCP, or where a command is handier: a
 * program of one file that plain Node runs, scripts that call it under the names of the tools, and an extension for pi.
 *
 * It promises that a tool never takes the name of a program that is there, and that what is said to the platform is said to it directly
 * and with the thread's own token, which is in the environment and in no file. It decides about nothing: the kernel does.
 *
 * This is what is read of it on the host; the rest runs in the sandbox. Begin with `program.ts`; `pi.ts` is the extension.
 */
import { readPlain } from '../plain.ts';

/** Files of `folder`, an absolute path in the sandbox that others may write to, and what makes the commands of the tools there. */
export function toolFiles(folder: string) {
  sources ??= { program: read('json', 'refusal', 'flags', 'platform', 'program'), pi: read('pi') };
  const program = `${folder}/tools.mjs`;
  const extension = `${folder}/pi-tools.mjs`;
  return {
    files: [
      { path: program, content: sources.program },
      { path: extension, content: sources.pi },
    ],
    program,
    extension,
    /** Last in PATH. */
    bin: `${folder}/bin`,
    makeCommands: (names: readonly string[]): [string, ...string[]] => ['node', program, 'refresh', ...names],
  };
}

/** Read once. */
let sources: { readonly program: string; readonly pi: string } | undefined;

function read(...names: readonly string[]): string {
  return readPlain(...names.map((name) => new URL(`${name}.ts`, import.meta.url)));
}
