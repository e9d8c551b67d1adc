/** Entry for Cloudflare Workers and workerd. */
import type { Environment } from './config.ts';
import type { Edge } from './edge.ts';
import { startEdge } from './start.ts';

/** One for each isolate: its bindings never change. */
let edge: Edge | undefined;

export default {
  fetch(request: Request, environment: Environment): Promise<Response> {
    edge ??= startEdge(environment);
    // Cloudflare sets it, whatever the sender wrote there; on a workerd of one's own it is the sender's word
    const isSet = environment['CENTAUR_EDGE_SOURCE'] === 'cloudflare';
    return edge.fetch(request, isSet ? request.headers.get('cf-connecting-ip') : null);
  },
};
