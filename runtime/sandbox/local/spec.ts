/** What a caller may ask for, checked where it enters. */
import fs from 'node:fs';
import { posix } from 'node:path';
import { SandboxError } from '../errors.ts';
import type { SandboxSpec } from '../types.ts';
import { parseTarget } from './relay.ts';
import type { Shape } from './sandbox.ts';

const ID = /^[a-z0-9-]{1,63}$/;
/** Places that a mount would take from the system, or from us. */
const RESERVED = ['/proc', '/dev', '/sys', '/usr', '/etc', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/tmp', '/opt/centaur'];
const EXACTLY = ['/', '/home', '/home/agent', '/workspace', '/opt'];

export function checkSpec(spec: SandboxSpec): void {
  if (!ID.test(spec.id)) refuse(`the id ${JSON.stringify(spec.id)} is not 1 to 63 lower case letters, digits and -`);
  for (const [name, value] of Object.entries(spec.labels)) {
    if (typeof value !== 'string' || name.length + value.length > 1000) refuse(`the label ${name} is no short text`);
  }
  if (lifetimeMs(spec.labels) === undefined) refuse('the label maxLifetime is not a number of seconds');
  checkShape(spec);
}

export function checkShape({ limits, mounts, relays }: Shape): void {
  const { memoryMb, processes, diskMb, tmpMb, cpus } = limits;
  if (![memoryMb, processes, diskMb, tmpMb].every((each) => Number.isInteger(each) && each > 0) || !(cpus > 0)) {
    refuse('limits are whole numbers above 0 (cpus may be a fraction)');
  }
  // Node itself does not start in less
  if (memoryMb < 64) refuse('memoryMb is at least 64');
  for (const { source, target } of mounts) {
    if (!target.startsWith('/') || posix.normalize(target) !== target || target.includes('\0') || EXACTLY.includes(target)) {
      refuse(`${JSON.stringify(target)} is no place for a mount`);
    }
    if (RESERVED.some((each) => target === each || target.startsWith(`${each}/`)))
      refuse(`the mount ${target} would hide the system's own`);
    if (!source.startsWith('/') || source.includes('\0') || !fs.existsSync(source)) refuse(`the mount's source ${source} does not exist`);
  }
  if (new Set(mounts.map((each) => each.target)).size < mounts.length) refuse('two mounts have one target');
  for (const { port, to } of relays) {
    // below 1024 nobody may listen in there
    if (!Number.isInteger(port) || port < 1024 || port > 65_535) refuse(`a relay's port is 1024 to 65535, not ${port}`);
    try {
      parseTarget(to);
    } catch (error) {
      refuse(`a relay's target: ${(error as Error).message}`);
    }
  }
  if (new Set(relays.map((each) => each.port)).size < relays.length) refuse('two relays have one port');
}

/** From the label `maxLifetime`, in seconds; Infinity without it, undefined when it is no number. */
export function lifetimeMs(labels: Readonly<Record<string, string>>): number | undefined {
  const text = labels['maxLifetime'];
  if (text === undefined) return Number.POSITIVE_INFINITY;
  return /^\d{1,9}$/.test(text) && Number(text) > 0 ? Number(text) * 1000 : undefined;
}

/** Whether a sandbox that was made for one may serve the other. */
export function sameShape(one: Shape, other: Shape): boolean {
  const key = ({ limits, mounts, relays }: Shape): string =>
    JSON.stringify([
      [limits.memoryMb, limits.processes, limits.diskMb, limits.tmpMb, limits.cpus],
      mounts.map(({ source, target }) => [source, target]),
      relays.map(({ port, to }) => [port, to]),
    ]);
  return key(one) === key(other);
}

function refuse(message: string): never {
  throw new SandboxError('INVALID_SPEC', message);
}
