/** Certificates: the installation's own authority, and a leaf for each host that is intercepted. */
import { createSecureContext, type SecureContext } from 'node:tls';
import { isIP } from 'node:net';
import { createPrivateKey, webcrypto } from 'node:crypto';
// the library needs it before it is loaded itself
// oxlint-disable-next-line import/no-unassigned-import
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { installKey, type MasterKey } from '../vault/index.ts';
import type { Store } from '../store/index.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const CA_DAYS = 3650;
const LEAF_DAYS = 7;
const LEAVES_MOST = 1000;
const RENEW_MS = (LEAF_DAYS * DAY_MS) / 2;
/** A clock that is behind must not make a new certificate one of the future. */
const BACKDATE_MS = 3_600_000;

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);

export interface Leaf {
  readonly key: string;
  readonly cert: string;
  readonly minVersion: 'TLSv1.2';
}

export interface Authority {
  /** Clients trust this. */
  readonly caPem: string;
  readonly notAfter: Date;
  /** Key and certificates of a host's TLS; made once in a while. */
  leafFor(host: string): Promise<Leaf>;
  contextFor(host: string): Promise<SecureContext>;
}

/** The installation's own authority; the first process that asks makes it. */
export async function openAuthority(store: Store, master: MasterKey): Promise<Authority> {
  return createAuthority(await installKey(store, master, 'firewall.ca', makeCa));
}

/** @param key a certificate in PEM and its private key in PKCS #8, as `makeCa` makes them */
export async function createAuthority({ public: caPem, secret }: { readonly public: string; readonly secret: Buffer }): Promise<Authority> {
  const ca = new x509.X509Certificate(caPem);
  const caKey = await importKey(secret);
  const leafKeys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const leafKeyPem = createPrivateKey({
    key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', leafKeys.privateKey)),
    format: 'der',
    type: 'pkcs8',
  })
    .export({ format: 'pem', type: 'pkcs8' })
    .toString();
  const leaves = new Map<string, { readonly leaf: Promise<Leaf>; readonly until: number }>();

  async function mint(host: string): Promise<Leaf> {
    const now = Date.now();
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      // names above 64 characters do not fit; what counts is the alternative name
      subject: host.length <= 64 ? [{ CN: [host] }] : [{ CN: ['centaur'] }],
      issuer: ca.subject,
      notBefore: new Date(now - BACKDATE_MS),
      notAfter: new Date(Math.min(now + LEAF_DAYS * DAY_MS, ca.notAfter.getTime())),
      signingKey: caKey,
      publicKey: leafKeys.publicKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: isIP(host) === 0 ? 'dns' : 'ip', value: host }]),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.BasicConstraintsExtension(false, undefined, true),
        await x509.AuthorityKeyIdentifierExtension.create(ca),
      ],
    });
    return { key: leafKeyPem, cert: `${leaf.toString('pem')}\n${caPem}`, minVersion: 'TLSv1.2' };
  }

  function leafFor(host: string): Promise<Leaf> {
    const known = leaves.get(host);
    if (known !== undefined && known.until > Date.now()) return known.leaf;
    if (leaves.size >= LEAVES_MOST) leaves.delete(leaves.keys().next().value as string);
    const leaf = mint(host);
    leaves.set(host, { leaf, until: Date.now() + RENEW_MS });
    leaf.catch(() => leaves.delete(host));
    return leaf;
  }

  return {
    caPem,
    notAfter: ca.notAfter,
    leafFor,
    contextFor: async (host) => createSecureContext(await leafFor(host)),
  };
}

export async function makeCa(): Promise<{ readonly public: string; readonly secret: Buffer }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: [{ CN: [`Centaur firewall ${serial().slice(0, 8)}`] }, { O: ['Centaur'] }],
    notBefore: new Date(now - BACKDATE_MS),
    notAfter: new Date(now + CA_DAYS * DAY_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { public: certificate.toString('pem'), secret: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)) };
}

function importKey(pkcs8: Buffer) {
  return webcrypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']);
}

/** Positive and of 16 bytes. */
function serial(): string {
  const bytes = Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)));
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes.toString('hex');
}
