/** Entry for Cloudflare Workers and workerd. */
import type { Environment } from './config.ts';
import type { Edge } from './edge.ts';
import { startEdge } from './start.ts';

/** One for each isolate: its bindings never change. */
let edge: Edge | undefined;

export default {
  fetch(request: Request, environment: Environment): Promise<Response> {
    edge ??= startEdge(environment);
    // set by Cloudflare itself, whatever the sender wrote there
    return edge.fetch(request, request.headers.get('cf-connecting-ip'));
  },
};
