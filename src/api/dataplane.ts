// The internal contract between control and the data plane: the route table as a snapshot, then deltas by sequence; what an Edge
// says back tells rollouts when a table is in force and an old Instance has no open requests.

import type { TrafficPolicy } from '../model/traffic-policy.ts';
import type { AppPages } from '../model/app-pages.ts';
import type { RouteTo } from '../model/route-match.ts';
import type { ServiceGrant } from '../model/service-policy.ts';
import type { RequestFilter } from '../model/request-filter.ts';
import type { Share } from '../model/traffic-split.ts';
import type { VersionCount } from '../model/version-counts.ts';
import { endpoint } from './endpoint.ts';

export interface RouteTarget {
  readonly instanceId: string;
  readonly deploymentId: string;
  /** The Deployment's number in its Environment, for logs and counts; absent where it is not known. */
  readonly deploymentNumber?: number;
  readonly nodeId: string;
  /** On its own Node. */
  readonly host: string;
  readonly port: number;
  /** Of the Instance, as its Node has told; absent: 0. */
  readonly generation?: number;
  /** The data port of its Node, for Edges on other machines; absent: it has none. */
  readonly via?: { readonly host: string; readonly port: number };
  /** draining: no new requests; open ones go on until `drainUntilMs` (UTC). */
  readonly state: 'active' | 'draining';
  readonly drainUntilMs: number | null;
}

/** One Deployment's share of the requests of a group, beside the others. */
export interface RouteSplit extends Share {
  /** Who has the rest; null: every other Deployment, one that is taking over included. */
  readonly stableDeploymentId: string | null;
  readonly candidateDeploymentId: string;
}

/** New requests wait: at most so many, and until then (UTC). What comes later, or beyond, gets a page that says so. */
export interface RouteHold {
  readonly untilMs: number;
  readonly max: number;
}

/** A developer's laptop that stands in for the Entrypoint of a group. */
export interface RouteSession {
  readonly id: string;
  readonly key: string;
  /** personal: for requests that name its key alone. */
  readonly mode: 'personal' | 'replace';
  /** Services that its program may call, as the manifest on the laptop has them; absent: none. */
  readonly uses?: readonly string[];
  /** SHA-256, in hex, of the credential that it connects with. */
  readonly hash: string;
  readonly expiresAtMs: number;
  /** Null: it is not connected anywhere. */
  readonly target: Pick<RouteTarget, 'nodeId' | 'host' | 'port' | 'via'> | null;
}

/** An Entrypoint of an Environment as the Edge sees it. */
export interface RouteGroup {
  /** `<environmentId>/<entrypoint>`. */
  readonly id: string;
  readonly app: string;
  readonly environment: string;
  readonly entrypoint: string;
  /** Why there may be no target, for the page that a client then gets. */
  readonly state: 'serving' | 'starting' | 'down' | 'stopped';
  readonly targets: readonly RouteTarget[];
  /** Absent: requests go to all targets alike. */
  readonly split?: RouteSplit;
  /** Absent: requests flow. */
  readonly hold?: RouteHold;
  /** Absent: DEFAULT_TRAFFIC. */
  readonly policy?: TrafficPolicy;
  /** Of the App's own; absent: those of the Edge. */
  readonly pages?: AppPages;
  /** Path of the HTTP health check, for looking at an ejected target; absent: there is none. */
  readonly healthPath?: string;
  /** Absent: nobody. */
  readonly sessions?: readonly RouteSession[];
}

/** An Environment as the API Proxy sees it: what it provides, and who may call as it. Only those that provide or use something are there. */
export interface RouteParty {
  /** Of the Environment. */
  readonly id: string;
  readonly app: string;
  readonly environment: string;
  /** By the names of its Services. */
  readonly provides: Readonly<Record<string, RouteService>>;
  /** Instances that live, by what the Deployment of each uses. */
  readonly callers: readonly RouteCallers[];
}

export interface RouteService {
  readonly group: string;
  /** Put before what is asked for. */
  readonly path: string;
  readonly allow: readonly ServiceGrant[];
}

export interface RouteCallers {
  readonly uses: readonly string[];
  /** Node by Instance. */
  readonly instances: Readonly<Record<string, string>>;
}

export interface RouteRule extends RouteTo {
  readonly group: string;
  /** Whatever comes this way names the session of this key; absent: it names one itself, or none. */
  readonly session?: string;
}

/** What an Edge shows to clients that ask for this name by SNI. It holds a private key: it is never logged and never shown. */
export interface TableCertificate {
  /** Canonical host; a leading `*.` is exactly one label. */
  readonly name: string;
  /** PEM, leaf first. */
  readonly chainPem: string;
  /** PKCS#8 PEM. */
  readonly keyPem: string;
  readonly untilMs: number;
}

/** What an authority asks an Edge over http (RFC 8555 §8.3), while a certificate is ordered: key authorizations by token. */
export type AcmeChallenges = Readonly<Record<string, string>>;

/** What counts for a while only and is never kept on disk. In a delta what is absent stays as it was. */
export interface PassingParts extends ChallengeAnswers {
  /** With it Edges seal what TLS clients resume their sessions by (RFC 5077), so that any Edge takes up what another began; 48 bytes in base64. */
  readonly ticketKey?: string;
}

/** All that Edges answer to authorities at the moment. */
export interface ChallengeAnswers {
  readonly challenges?: AcmeChallenges;
  /** Shown to who asks by the protocol acme-tls/1 (RFC 8737), for the hosts that they are named by. */
  readonly challengeCertificates?: readonly TableCertificate[];
}

/** Absent: none. */
export interface RouteTable extends PassingParts {
  readonly rules: readonly RouteRule[];
  readonly groups: readonly RouteGroup[];
  readonly parties?: readonly RouteParty[];
  readonly certificates?: readonly TableCertificate[];
}

export type TableMessage =
  | { readonly type: 'snapshot'; readonly sequence: number; readonly table: RouteTable }
  /** Follows exactly the message with sequence − 1. */
  | ({
      readonly type: 'delta';
      readonly sequence: number;
      /** By routeKey, a new one or in place of another; absent: none. */
      readonly putRules?: readonly RouteRule[];
      readonly removeRules?: readonly string[];
      readonly putGroups: readonly RouteGroup[];
      readonly removeGroups: readonly string[];
      /** By the id of the Environment; absent: none. */
      readonly putParties?: readonly RouteParty[];
      readonly removeParties?: readonly string[];
      /** By name; absent: none. */
      readonly putCertificates?: readonly TableCertificate[];
      readonly removeCertificates?: readonly string[];
    } & PassingParts)
  /** Every watcher there is now; each Edge begins with none. */
  | { readonly type: 'taps'; readonly taps: readonly Tap[] }
  | { readonly type: 'ping' };

/** Somebody watches requests. */
export interface Tap {
  readonly id: string;
  readonly filter: RequestFilter;
  /** How many of the past. */
  readonly tail: number;
  /** Also those to come. */
  readonly follow: boolean;
}

export interface TapBatch {
  readonly edgeId: string;
  /** Id of the tap. */
  readonly tap: string;
  /** Of the access log. */
  readonly lines: readonly string[];
  /** Requests before these that could not be kept. */
  readonly dropped: number;
  /** All of the past has been told. */
  readonly caughtUp: boolean;
}

export interface EdgeReport {
  readonly edgeId: string;
  /** Sequence of the table in force. */
  readonly sequence: number;
  /** Open requests and streams of each draining target; a target that is absent has none. */
  readonly draining: Readonly<Record<string, number>>;
  /** Targets that this Edge leaves out for a while. */
  readonly ejected: readonly string[];
  /** Where a split is in force: what each version did since the Edge has it; only grows. Absent: none. */
  readonly versions?: readonly VersionReport[];
  /** Hosts without a certificate that an App has let in, for an order; absent: none. */
  readonly wanted?: readonly string[];
  /** Laptops that are connected to it; absent: none. */
  readonly sessions?: readonly SessionReport[];
}

/** A laptop that is connected to an Edge, which listens for it on its own machine. */
export interface SessionReport {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** Since when, UTC. */
  readonly sinceMs: number;
}

/** What one version did with the requests of one group. */
export interface VersionReport extends VersionCount {
  readonly group: string;
  readonly deploymentId: string;
}

export const dataplane = {
  sync: endpoint({
    method: 'GET',
    path: '/v1/dataplane/sync',
    kind: 'sse',
    summary: 'The route table of the calling Edge.',
    permission: 'dataplane.sync',
    scope: 'none',
    query: (z) => z.object({ edge: z.string().max(64) }),
    reply: (z) => z.custom<TableMessage>(),
    internal: true,
  }),
  report: endpoint({
    method: 'POST',
    path: '/v1/dataplane/report',
    summary: 'Table in force and open requests of draining targets.',
    permission: 'dataplane.sync',
    scope: 'none',
    bodyLimitBytes: 1024 * 1024,
    body: (z) => z.custom<EdgeReport>((value) => typeof value === 'object' && value !== null),
    reply: (z) => z.object({ accepted: z.literal(true) }),
    internal: true,
  }),
  requests: endpoint({
    method: 'POST',
    path: '/v1/dataplane/requests',
    summary: 'Requests that somebody watches.',
    permission: 'dataplane.sync',
    scope: 'none',
    bodyLimitBytes: 8 * 1024 * 1024,
    body: (z) => z.custom<TapBatch>((value) => typeof value === 'object' && value !== null),
    reply: (z) => z.object({ wanted: z.boolean() }),
    internal: true,
  }),
};
