/** A worker that can be killed: one workflow in a sandbox, under the settings that it is given. Says `ready` when that runs. */
import path from 'node:path';
import { createEngine } from '../../../kernel/engine/index.ts';
import { connectStore } from '../../../kernel/store/index.ts';
import { localMasterKey, openInstallation } from '../../../kernel/vault/index.ts';
import { createHosts } from '../../../runtime/hosts/hosted/index.ts';
import { createSandboxedLauncher } from '../../../runtime/hosts/hosted/sandboxed.ts';
import { createLocalBackend } from '../../../runtime/sandbox/local/index.ts';
import { LIMITS, PYTHON } from '../../support/hosts.ts';

const { url, master, root, firewall, postgres } = JSON.parse(process.argv[2] ?? '') as Record<string, string>;
const log = (): void => undefined;
const store = await connectStore({ url: url as string, poolSize: 3 });
const installation = await openInstallation({ store, master: localMasterKey(Buffer.from(master as string, 'hex')), log });
const backend = createLocalBackend({ stateDir: path.join(root as string, 'sandboxes'), memoryReserveMb: 64 });
const launcher = createSandboxedLauncher({
  backend,
  installation,
  firewall: firewall as string,
  postgres: postgres as string,
  limits: LIMITS,
  python: PYTHON,
  stateDir: path.join(root as string, 'h'),
  log,
});
const hosts = await createHosts({
  dirs: [path.join(root as string, 'workflows')],
  stateDir: path.join(root as string, 'state'),
  watch: false,
  log,
  launch: launcher.launch,
});
const engine = await createEngine({ store, registry: hosts.registry });
hosts.serve({ startRun: ({ from, ...request }) => engine.startFrom(from, request), metric: log, log });
await engine.work();
const { run_id: runId } = await engine.start({ workflow_name: 'victim', input: { code: 'return 1' } });
for await (const event of engine.tailRun(runId)) if (event.event === 'run.completed') break;
process.stdout.write('ready\n');
setInterval(() => undefined, 60_000);
