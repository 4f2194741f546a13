// The way from one control plane to another: the only place that knows how it is reached.

import http from 'node:http';
import https from 'node:https';
import type { ClientRequest, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { machineName } from '../../tunnel/identity.ts';

/** Another control plane. */
export interface Peer {
  /** Of its Node. */
  readonly id: string;
  /** Of its API: over TLS, or on this machine. */
  readonly url: string;
}

export interface PeerRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly signal?: AbortSignal;
}

export interface Peers {
  /** Begins a request, whose body is the caller's to write and whose `error` event is the caller's to hear. */
  request(peer: Peer, request: PeerRequest): ClientRequest;
  close(): void;
}

/** Says that a call comes from another control plane, which would not want it back. */
export const FORWARDED = 'x-libra-forwarded';
/** In the reply to such a call: the revision that the view of the one in between has to reach before its caller may go on. */
export const REVISION = 'x-libra-revision';

const SOCKETS = 1024;

/** @param authorityPem of machines: over TLS a control plane is known by its Node, whatever its address */
export function createPeers(authorityPem: string): Peers {
  const sockets = { keepAlive: true, maxSockets: SOCKETS };
  const plain = new http.Agent(sockets);
  const secure = new https.Agent({ ...sockets, ca: authorityPem, minVersion: 'TLSv1.2' });
  return {
    request: (peer, { method, path, headers, signal }) => {
      // Not the URL of both: a path that begins with two slashes would lead elsewhere, and the credential with it.
      const { hostname, port, protocol } = new URL(peer.url);
      const host = hostname.replace(/^\[(.+)\]$/u, '$1');
      const request = { host, port, method, path, headers, ...(signal === undefined ? {} : { signal }) };
      if (protocol !== 'https:') return http.request({ ...request, agent: plain });
      return https.request({ ...request, agent: secure, servername: machineName(peer.id, 'control') });
    },
    close: () => {
      plain.destroy();
      secure.destroy();
    },
  };
}

/** RFC 9110 §7.6.1: what concerns one connection only. */
const HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect']);

/** The headers that are handed on. */
export function endToEnd(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const named = new Set((headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase()));
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP.has(name) && !named.has(name)));
}
