/**
 * mockttp as a proxy that ends TLS and puts the key where the placeholder was: no lease, no policy, no audit log, no scan.
 * In a process of its own: told the service's CA by `SERVICE_CA` and the key by `KEY`.
 */
import { generateCACertificate, getLocal } from 'mockttp';
import { answerUsage } from '../../firewall/usage.ts';

const ca = await generateCACertificate();
const proxy = getLocal({ https: ca, http2: false, recordTraffic: false });
await proxy.forAnyRequest().thenPassThrough({
  additionalTrustedCAs: [{ cert: process.env['SERVICE_CA'] ?? '' }],
  transformRequest: { updateHeaders: { authorization: `Bearer ${process.env['KEY'] ?? ''}` } },
});
await proxy.start();
process.send?.({ port: proxy.port, caPem: ca.cert });
answerUsage();
