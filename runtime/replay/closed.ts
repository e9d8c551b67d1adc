/**
 * What Node's permissions leave open to the process of a replay, closed: sockets of every kind, names of hosts, other processes, and
 * the line to whoever asked. A call made there has been made when the run was live; made again, it would do something a second time.
 *
 * It stops what code does without meaning harm. Code that does is no worse off in the worker, whose process it had before.
 */
import dgram from 'node:dgram';
import dns from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import os from 'node:os';
import tls from 'node:tls';

/** For good, and in the whole process. */
export function closeWaysOut(): void {
  close(net.Socket.prototype, ['connect']);
  close(net.Server.prototype, ['listen']);
  // it has a handle before it connects
  close(tls, ['connect']);
  close(dgram.Socket.prototype, ['bind', 'connect', 'send', 'addMembership']);
  for (const asked of [dns, dns.promises, dns.Resolver.prototype, dns.promises.Resolver.prototype]) close(asked, namesOf(asked));
  close(os, ['setPriority']);
  close(process, ['kill', 'send', 'disconnect', 'binding']);
  // whoever imports a function by its name gets these, too
  syncBuiltinESMExports();
}

/** Functions that ask a name server. */
function namesOf(of: object): readonly string[] {
  return Object.getOwnPropertyNames(of).filter((name) => /^(?:lookup|resolve|reverse)/.test(name));
}

function close(of: object, names: readonly string[]): void {
  for (const name of names)
    Object.defineProperty(of, name, {
      value: () => {
        throw Object.assign(new Error(`${name}: a replay reaches nothing outside of its process; put what does so into a step`), {
          code: 'ERR_ACCESS_DENIED',
        });
      },
      configurable: false,
      writable: false,
    });
}
