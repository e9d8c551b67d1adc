/** Entry for Deno: `deno run --allow-net --allow-env ingress/edge/deno.ts`, which listens at `CENTAUR_EDGE_HOST` and `CENTAUR_EDGE_PORT`. */
import { startEdge } from './start.ts';

declare const Deno: {
  readonly env: { toObject(): Record<string, string> };
  serve(
    options: { readonly hostname: string; readonly port: number; onListen(at: { readonly port: number }): void },
    handler: (request: Request, info: { readonly remoteAddr: { readonly hostname?: string } }) => Promise<Response>,
  ): unknown;
};

const environment = Deno.env.toObject();
const edge = startEdge(environment);
Deno.serve(
  {
    hostname: environment['CENTAUR_EDGE_HOST'] ?? '127.0.0.1',
    port: Number(environment['CENTAUR_EDGE_PORT'] ?? 8787),
    onListen: ({ port }) => console.log(`the edge listens on port ${port}`),
  },
  (request, { remoteAddr }) => edge.fetch(request, remoteAddr.hostname ?? null),
);
