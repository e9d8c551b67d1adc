/** Processes of tools in sandboxes: each gets the secrets that it declares and was granted, as placeholders, and reaches the hosts that it declares. */
import { type Installation, ownSecrets, usableGrants } from '@centaur/kernel/vault';
import type { OwnSecrets, SecretDeclaration, ServedTool } from '@centaur/kernel/tools';
import type { HostAccess, Rights } from '../hosts/hosted/access.ts';
import { createSandboxes, POSTGRES_ADDRESS, type SandboxesOptions } from '../hosts/hosted/sandboxed.ts';
import type { SandboxLimits } from '../sandbox/types.ts';
import type { ToolRunnerOptions } from './index.ts';

export interface SandboxedTools extends Required<Pick<ToolRunnerOptions, 'launch' | 'isCurrent'>> {
  close(): Promise<void>;
}

export interface SandboxedToolsOptions extends SandboxesOptions {
  /** As much as a tool gets that asks for more than `limits`. Default: no more. */
  readonly most?: Pick<SandboxLimits, 'memoryMb' | 'processes'>;
}

export function createSandboxedTools(options: SandboxedToolsOptions): SandboxedTools {
  const sandboxes = createSandboxes('tool', options);
  return {
    launch: (program, tool, onClose, own) =>
      tool === undefined
        ? sandboxes.launch(program, { name: '-', rights: undefined }, onClose)
        : sandboxes.launch(
            program,
            { name: nameOf(tool, own), rights: rightsOf(tool, own), env: async (access) => databases(access), ...limitsOf(tool, options) },
            onClose,
          ),
    isCurrent: (tool, own) => sandboxes.isCurrent(nameOf(tool, own), rightsOf(tool, own)),
    close: sandboxes.close,
  };
}

/** A process that has a user's own secrets is that user's. */
const nameOf = ({ name }: ServedTool, own: OwnSecrets | undefined): string => (own === undefined ? name : `${name} of ${own.user}`);

/** What the tool asks for, as far as the operator lets it. */
function limitsOf(tool: ServedTool, { limits, most = limits, log }: SandboxedToolsOptions): { readonly limits?: SandboxLimits } {
  const memoryMb = Math.max(limits.memoryMb, Math.min(tool.memoryMb ?? 0, most.memoryMb));
  const processes = Math.max(limits.processes, Math.min(tool.processes ?? 0, most.processes));
  if (memoryMb < (tool.memoryMb ?? 0) || processes < (tool.processes ?? 0))
    log({
      level: 'warn',
      message: 'a tool asks for more than tools.memory_most_mb and tools.processes_most allow, and gets less',
      tool: tool.name,
      memory_mb: tool.memoryMb,
      processes: tool.processes,
    });
  if (memoryMb === limits.memoryMb && processes === limits.processes) return {};
  return { limits: { ...limits, memoryMb, processes } };
}

function rightsOf(tool: ServedTool, own: OwnSecrets | undefined): Rights {
  const principal = `tool:${tool.name}`;
  const theirs = own?.secrets ?? new Map<string, string>();
  const shared = tool.secrets.filter(({ name }) => !theirs.has(name));
  return {
    kind: 'tool',
    principal,
    ...(own === undefined ? {} : { onBehalfOf: `user:${own.user}` }),
    variables: new Map([...theirs].map(([declared, name]) => [name, declared])),
    async secrets(installation) {
      const usableNow = await usable(installation, principal, shared);
      if (own === undefined) return usableNow;
      return [...usableNow, ...(await ownSecrets(installation.store, own.user, principal, [...theirs.keys()])).values()];
    },
    egress: [...tool.hosts, ...tool.secrets.flatMap(({ hosts, methods, paths }) => hosts.map((host) => ({ host, methods, paths })))],
  };
}

async function usable({ store }: Installation, principal: string, secrets: readonly SecretDeclaration[]): Promise<readonly string[]> {
  const asked = secrets.map(({ name }) => ({ principal, secret: name }));
  const found = asked.length === 0 ? [] : await usableGrants(store, asked);
  return found.filter(({ known, granted }) => known && granted).map(({ secret }) => secret);
}

/** A database is reached through the firewall's listener, by the placeholder as its password. */
function databases(access: HostAccess | undefined): Readonly<Record<string, string>> {
  if (access === undefined) return {};
  const urls = access.databases.map((name) => [
    name,
    `postgres://lease:${access.placeholders[name]}@${POSTGRES_ADDRESS}/${name}?sslmode=disable`,
  ]);
  return Object.fromEntries(urls) as Readonly<Record<string, string>>;
}
