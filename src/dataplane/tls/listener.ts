// Accepts TLS and hands on what is inside, as the plain listener does. A handshake has a deadline, and the certificate follows the name
// that the client asks for; a client that names nobody we know is refused in the handshake.

import type { Socket } from 'node:net';
import tls from 'node:tls';
import type { SecureContext, TLSSocket } from 'node:tls';
import { constants } from 'node:crypto';
import type { ClientCertificate, TlsFacts } from '../../proxy/message.ts';
import { TLS_VERSIONS } from './certificates.ts';

export interface TlsListenerOptions {
  /** For a server name as a client sent it; null where there is none. */
  readonly contextFor: (serverName: string) => SecureContext | null;
  /** The authorities of which clients of this name are asked for a certificate; absent: nobody is asked. */
  readonly askedFor?: (serverName: string) => string | null;
  /** Protocols that are offered by ALPN, the preferred one first. */
  readonly protocols: readonly string[];
  /** For a whole handshake; at most ten seconds. */
  readonly timeoutMs: number;
  readonly onConnection: (socket: TLSSocket, facts: TlsFacts, protocol: string) => void;
  /** A handshake that came to nothing. */
  readonly onRefused: (why: string, socket: Socket) => void;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
const SESSION_SECONDS = 3_600;

/** The server; the caller makes it listen. */
export function createTlsServer(options: TlsListenerOptions): tls.Server {
  const { askedFor } = options;
  const server = tls.createServer(
    {
      ...TLS_VERSIONS,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
      handshakeTimeout: Math.min(HANDSHAKE_TIMEOUT_MS, options.timeoutMs),
      sessionTimeout: SESSION_SECONDS,
      ALPNProtocols: [...options.protocols],
      // One name's session, resumed under another, would bring along what was proven to the first (CVE-2025-23419).
      ...(askedFor === undefined ? {} : { requestCert: true, rejectUnauthorized: false, secureOptions: constants.SSL_OP_NO_TICKET }),
      SNICallback: (serverName, done) => {
        try {
          const context = options.contextFor(serverName);
          if (context === null) done(new Error(`there is no certificate for ${serverName}`));
          else done(null, context);
        } catch (error) {
          // A certificate that cannot be used must not take the others with it.
          done(error instanceof Error ? error : new Error(String(error)));
        }
      },
    },
    (socket) => {
      const serverName = typeof socket.servername === 'string' ? socket.servername : null;
      const asked = serverName === null || socket.isSessionReused() ? null : (askedFor?.(serverName) ?? null);
      const facts = { version: socket.getProtocol() ?? '', serverName, asked, client: asked === null ? null : clientOf(socket) };
      options.onConnection(socket, facts, socket.alpnProtocol || 'http/1.1');
    },
  );
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // Whoever only looks whether the port is open goes without a word.
    if (error.code !== 'ECONNRESET') options.onRefused(reasonOf(error), socket);
    socket.destroy();
  });
  return server;
}

/** OpenSSL's word for it, without the place in its sources that the message tells. */
function reasonOf(error: Error): string {
  return 'reason' in error && typeof error.reason === 'string' ? error.reason : error.message;
}

function clientOf(socket: TLSSocket): ClientCertificate | null {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  // Node has an error here that is typed as one and is its code.
  const problem = socket.authorized ? null : String(socket.authorizationError);
  return { problem, subject: certificate.subject.split('\n').toReversed().join(','), raw: certificate.raw };
}
