/** Whether this machine can run the third act: what isolates a sandbox, and the agent CLI where a real one is asked for. */
import { createLocalBackend } from '@centaur/runtime/sandbox/local';
import { findCli, installFolder, type Real } from '../../../test/harnesses/install.ts';
import { ensureBubblewrap } from '../../../test/support/bubblewrap.ts';

export interface Cli {
  readonly folder: string;
  readonly model: string;
}

/** Why it cannot go on, with what to do about it. */
export interface Lack {
  readonly problem: string;
}

/** @returns how sandboxes are isolated here, in words */
export async function findIsolation(stateDir: string): Promise<{ readonly isolation: string } | Lack> {
  const { problem } = ensureBubblewrap();
  const backend = createLocalBackend({ stateDir });
  try {
    const { isolation, limits, reasons } = await backend.capabilities();
    if (isolation === 'none') {
      // the others are about limits, which may be weaker
      const why = reasons.filter((reason) => reason.startsWith('namespaces'));
      return { problem: ['this machine cannot isolate a sandbox.', ...(problem === undefined ? [] : [problem]), ...why].join('\n  ') };
    }
    return { isolation: `${isolation}, limits by ${limits}` };
  } finally {
    await backend.close();
  }
}

export function findHarness(kind: Real): Cli | Lack {
  const folder = installFolder();
  try {
    return { folder, model: findCli(kind).model };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return {
      problem: `${code === 'ENOENT' ? `${kind} is not in ${folder}` : message}.
  "npm run test:harnesses -- ${kind}" installs it there, at the version that is tested, and tries it out.
  If you have it elsewhere, in a folder as npm makes them, set CENTAUR_HARNESS_DIR to that folder.`,
    };
  }
}
