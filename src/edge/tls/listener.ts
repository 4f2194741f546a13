// Accepts TLS and hands on what is inside, as the plain listener does. A handshake has a deadline, and the certificate follows the name
// that the client asks for; a client that names nobody we know is refused in the handshake.

import type { Socket } from 'node:net';
import tls from 'node:tls';
import type { TLSSocket } from 'node:tls';
import type { TlsFacts } from '../../proxy/message.ts';
import { TLS_VERSIONS } from './certificates.ts';
import type { Certificates } from './certificates.ts';

export interface TlsListenerOptions {
  readonly certificates: Certificates;
  /** Protocols that are offered by ALPN, the preferred one first. */
  readonly protocols: readonly string[];
  /** For a whole handshake; at most ten seconds. */
  readonly timeoutMs: number;
  readonly onConnection: (socket: TLSSocket, facts: TlsFacts, protocol: string) => void;
  /** A handshake that came to nothing. */
  readonly onRefused: (why: string) => void;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
const SESSION_SECONDS = 3_600;

/** The server; the caller makes it listen. */
export function createTlsServer(options: TlsListenerOptions): tls.Server {
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
      SNICallback: (serverName, done) => {
        try {
          const context = options.certificates.contextFor(serverName);
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
      options.onConnection(socket, { version: socket.getProtocol() ?? '', serverName, client: null }, socket.alpnProtocol || 'http/1.1');
    },
  );
  server.on('tlsClientError', (error, socket: Socket) => {
    options.onRefused(error.message);
    socket.destroy();
  });
  return server;
}
