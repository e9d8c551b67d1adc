/**
 * `npm run test:hosts`: whether a host keeps to the protocol of `docs/reference/host-protocol.md`. Prints one line per
 * scenario, and exits with 1 when one fails.
 *
 *   npm run test:hosts                                        the hosts that come with Centaur
 *   npm run test:hosts -- --host python                       one of them: node, python, deno
 *   npm run test:hosts -- --command 'my-host --flag' --files DIR    yours
 *   npm run test:hosts -- --only 'kills'                      scenarios whose line contains the text
 *
 * DIR holds the workflows of `test/hosts/files/python` in the host's language: `main/`, `later/`, `broken/`.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { HOSTS, findHost } from './hosts.ts';
import { judge } from './judge.ts';
import type { HostCommand } from './process.ts';

/** Whatever hangs, the run ends. */
const LONGEST_MS = 20 * 60_000;

const { values } = parseArgs({
  options: { host: { type: 'string', multiple: true }, command: { type: 'string' }, files: { type: 'string' }, only: { type: 'string' } },
});
const watchdog = setTimeout(() => {
  console.error(`gave up after ${LONGEST_MS / 60_000} minutes`);
  process.exit(1);
}, LONGEST_MS);
let failed = 0;
for (const command of chosen()) {
  const verdicts = await judge(
    command,
    (title) => title.includes(values.only ?? ''),
    ({ line, failure }) => {
      console.log(failure === undefined ? line : `${line}\n${failure.replaceAll(/^/gm, '    ')}`);
    },
  );
  const failures = verdicts.filter(({ failure }) => failure !== undefined).length;
  console.log(`${command.name}: ${verdicts.length - failures} of ${verdicts.length} ok`);
  failed += failures + (verdicts.length === 0 ? 1 : 0);
}
clearTimeout(watchdog);
process.exitCode = failed === 0 ? 0 : 1;

function chosen(): HostCommand[] {
  if (values.command !== undefined) {
    if (values.files === undefined) throw new Error('--command needs --files DIR, the workflows in its language');
    return [{ name: 'yours', command: () => ['sh', '-c', `exec ${values.command}`], files: resolve(values.files) }];
  }
  return (values.host ?? HOSTS.map(({ name }) => name)).map(findHost);
}
