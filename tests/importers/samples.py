"""Records as each system writes them, made up: what tests change a little, or past recognition."""

from __future__ import annotations

from typing import Any

GITHUB: list[dict[str, Any]] = [
    {
        "@timestamp": 1737481150123,
        "_document_id": "kZ2pQ0xT8wVvB3nM1sRcYg",
        "action": "repo.access",
        "actor": "ana-lunde",
        "actor_id": 4711,
        "actor_ip": "203.0.113.9",
        "actor_is_bot": False,
        "actor_location": {"country_code": "NO"},
        "business": "harbour",
        "business_id": 12,
        "created_at": 1737481150123,
        "external_identity_nameid": "ana@harbour.example",
        "hashed_token": "2m7vI9pQyq1l9b6oT5rB0c5H2yq3xwZ8m4kE1uN6sDg=",
        "operation_type": "modify",
        "org": "harbour",
        "org_id": 99,
        "previous_visibility": "private",
        "programmatic_access_type": "Fine-grained personal access token",
        "repo": "harbour/berths",
        "repo_id": 5512,
        "request_id": "C0DE:1A2B:3C4D",
        "token_id": 7788,
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0",
        "visibility": "public",
    },
    {
        "@timestamp": 1737481160000,
        "action": "org.add_member",
        "actor": "deploy[bot]",
        "actor_id": 31,
        "created_at": 1737481160000,
        "org": "harbour",
        "org_id": 99,
        "permission": "admin",
        "old_permission": "read",
        "user": "bo-falk",
        "user_id": 4712,
    },
    {
        "@timestamp": 1737481170000,
        "action": "pull_request.create",
        "actor": "Copilot",
        "actor_id": 198982749,
        "actor_is_agent": True,
        "agent_session_id": "012345a6-b7c8-4012-8e3f-451234567901",
        "org": "harbour",
        "repo": "harbour/berths",
        "user": "ana-lunde",
        "user_id": 4711,
        "pull_request_id": 8,
        "pull_request_title": "Count berths once",
    },
    {
        "@timestamp": 1737481180000,
        "action": "repository_ruleset.update",
        "actor": "bo-falk",
        "org": "harbour",
        "repo": "harbour/berths",
        "ruleset_id": 77,
        "ruleset_name": "main",
        "ruleset_enforcement": "disabled",
        "ruleset_old_enforcement": "active",
        "config": {"url": "https://ci.example/hook", "secret": "hunter2xyzzy"},
    },
]

OKTA: list[dict[str, Any]] = [
    {
        "uuid": "5a3f1c52-d801-11ef-9f2b-7b1f0a3c9d10",
        "published": "2025-01-21T17:39:10.250Z",
        "eventType": "user.session.start",
        "version": "0",
        "severity": "WARN",
        "legacyEventType": "core.user_auth.login_failed",
        "displayMessage": "User login to Okta",
        "actor": {
            "id": "00u1ana",
            "type": "User",
            "alternateId": "ana@harbour.example",
            "displayName": "Ana Lunde",
            "detailEntry": None,
        },
        "client": {
            "userAgent": {
                "rawUserAgent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0",
                "os": "Linux",
                "browser": "FIREFOX",
            },
            "zone": "null",
            "device": "Computer",
            "ipAddress": "203.0.113.9",
            "geographicalContext": {
                "city": "Bergen",
                "state": "Vestland",
                "country": "Norway",
                "postalCode": "5003",
                "geolocation": {"lat": 60.3943, "lon": 5.3259},
            },
        },
        "outcome": {"result": "FAILURE", "reason": "INVALID_CREDENTIALS"},
        "target": [
            {
                "id": "0oa1app",
                "type": "AppInstance",
                "alternateId": "Berths",
                "displayName": "Berths of the harbour",
            }
        ],
        "transaction": {"type": "WEB", "id": "Z4nPq1", "detail": {}},
        "debugContext": {
            "debugData": {
                "requestId": "req-1",
                "requestUri": "/api/v1/authn?stateToken=q8Zr5tYw1nUv",
                "threatSuspected": "false",
                "url": "/api/v1/authn?",
                "authnToken": "q8Zr5tYw1nUv",
            }
        },
        "authenticationContext": {
            "authenticationStep": 0,
            "credentialType": "PASSWORD",
            "externalSessionId": "sess-1",
        },
        "securityContext": {"asNumber": 64500, "asOrg": "harbour net", "isProxy": False},
        "request": {"ipChain": [{"ip": "203.0.113.9", "version": "V4"}, {"ip": "198.51.100.4"}]},
    },
    {
        "uuid": "6b3f1c52-d801-11ef-9f2b-7b1f0a3c9d10",
        "published": "2025-01-21T17:40:00.000Z",
        "eventType": "user.account.privilege.grant",
        "severity": "INFO",
        "displayMessage": "Grant user privilege",
        "actor": {"id": "00u1ana", "type": "User", "alternateId": "ana@harbour.example"},
        "client": {"ipAddress": "2001:db8::7"},
        "outcome": {"result": "SUCCESS"},
        "target": [
            {
                "id": "00u2bo",
                "type": "User",
                "alternateId": "bo@harbour.example",
                "displayName": "Bo Falk",
                "changeDetails": {
                    "from": {"role": "none"},
                    "to": {"role": "SUPER_ADMIN"},
                },
            }
        ],
        "debugContext": {"debugData": {"privilegeGranted": "Super administrator"}},
        "transaction": {"id": "Z4nPq2"},
    },
    {
        "published": "2025-01-21T17:41:00.000Z",
        "eventType": "system.operation.rate_limit.violation",
        "actor": {"id": "0oa9", "type": "PublicClientApp", "displayName": "Sync"},
        "outcome": {"result": "DENY", "reason": "Too many requests"},
        "client": {"ipAddress": "unknown host"},
    },
]

KUBERNETES: list[dict[str, Any]] = [
    {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "0b7e0c5a-6f3d-4f39-9e9a-5d0c3e4b1a2f",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/berths/secrets/db?limit=500&token=q8Zr5tYw1nUv",
        "verb": "get",
        "user": {
            "username": "system:serviceaccount:berths:api",
            "uid": "9",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=7c2a"]},
        },
        "sourceIPs": ["10.0.3.17", "198.51.100.4"],
        "userAgent": "berths/1.4 (linux/amd64)",
        "objectRef": {
            "resource": "secrets",
            "namespace": "berths",
            "name": "db",
            "apiVersion": "v1",
        },
        "responseStatus": {"metadata": {}, "code": 200},
        "responseObject": {"data": {"password": "aHVudGVyMnh5enp5"}},
        "requestReceivedTimestamp": "2025-01-21T17:39:10.250000Z",
        "stageTimestamp": "2025-01-21T17:39:10.260000Z",
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": 'RBAC: allowed by RoleBinding "api/berths"',
        },
    },
    {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Request",
        "auditID": "1b7e0c5a-6f3d-4f39-9e9a-5d0c3e4b1a2f",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/berths/pods/api-0/exec?command=sh",
        "verb": "create",
        "user": {"username": "ana@harbour.example", "groups": ["system:masters"]},
        "impersonatedUser": {"username": "bo@harbour.example", "groups": ["crane"]},
        "sourceIPs": ["203.0.113.9"],
        "userAgent": "kubectl/v1.31.0",
        "objectRef": {
            "resource": "pods",
            "subresource": "exec",
            "namespace": "berths",
            "name": "api-0",
        },
        "responseStatus": {"code": 403, "reason": "Forbidden", "message": "pods is forbidden"},
        "requestReceivedTimestamp": "2025-01-21T17:40:10.250000Z",
    },
    {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "2b7e0c5a-6f3d-4f39-9e9a-5d0c3e4b1a2f",
        "stage": "RequestReceived",
        "requestURI": "/healthz",
        "verb": "get",
        "user": {"username": "system:anonymous"},
        "sourceIPs": ["10.0.3.1"],
        "requestReceivedTimestamp": "2025-01-21T17:41:10.250000Z",
    },
]

DJANGO_AUDITLOG: list[dict[str, Any]] = [
    {
        "id": 901,
        "content_type": "shop.invoice",
        "object_pk": "2026-1184",
        "object_id": None,
        "object_repr": "Invoice 2026-1184",
        "action": 1,
        "changes": {"due_date": ["2026-03-01", "2026-04-01"], "password": ["a1", "hunter2xyzzy"]},
        "actor": 7,
        "actor_email": "ana@harbour.example",
        "remote_addr": "203.0.113.9",
        "remote_port": 51822,
        "cid": "req-1",
        "timestamp": "2026-03-15T11:00:00.250Z",
        "additional_data": {"ticket": "H-12"},
    },
    {
        "model": "auditlog.logentry",
        "pk": 902,
        "fields": {
            "content_type": ["auth", "user"],
            "object_pk": "9",
            "object_repr": "bo",
            "action": 0,
            "changes": '{"username": ["None", "bo"], "groups": '
            '{"type": "m2m", "operation": "add", "objects": ["Crane"]}}',
            "actor": ["ana"],
            "remote_addr": "2001:db8::7",
            "timestamp": "2026-03-15T11:01:00.250Z",
            "serialized_data": {"pk": 9},
        },
    },
    {
        "content_type__app_label": "shop",
        "content_type__model": "cart",
        "object_pk": 4,
        "object_repr": "Cart 4",
        "action": "2",
        "changes": "",
        "actor_id": None,
        "remote_addr": None,
        "timestamp": 1773572460,
    },
]

ACCESS_LOG: list[str] = [
    '203.0.113.9 - ana [21/Jan/2025:17:39:10 +0100] "POST /berths/7/book?token=q8Zr5tYw1nUv&from=2 '
    'HTTP/1.1" 201 512 "https://harbour.example/berths?key=q8Zr5tYw1nUv" "Mozilla/5.0 (X11)"',
    '2001:db8::7 - - [21/Jan/2025:17:39:11 +0000] "GET / HTTP/2.0" 403 - "-" "curl/8.5.0"',
    'harbour.example:443 198.51.100.4 - - [21/Jan/2025:17:39:12 +0000] "DELETE /berths/7 HTTP/1.1" '
    '404 19 "-" "ua with \\"quotes\\"" 0.012 "-"',
    'crane.example - - [21/Jan/2025:17:39:13 +0000] "\\x16\\x03\\x01" 400 226',
]

AUTH_LOG: list[str] = [
    "Jan 21 17:39:10 quay sshd[1361]: Accepted publickey for ana from 203.0.113.9 port 54259 ssh2: "
    "ED25519 SHA256:Kl8kPGZrTiz7g4FO1hyqHdsSBBb5Fge6NWOobN03XJg",
    "Jan  2 07:00:00 quay sshd[1362]: Failed password for invalid user oracle from 198.51.100.4 "
    "port 40022 ssh2",
    "Jan 21 17:39:12 quay sudo:      ana : TTY=pts/0 ; PWD=/home/ana ; USER=root ; "
    "COMMAND=/usr/bin/apt-get install nginx",
    "2025-01-21T17:39:13.250000+01:00 quay sshd-session[9]: message repeated 5 times: "
    "[ Failed password for root from 198.51.100.4 port 40022 ssh2]",
    "Jan 21 17:39:14 quay useradd[77]: new user: name=bo, UID=1002, GID=1002, home=/home/bo, "
    "shell=/bin/bash",
    "Jan 21 17:39:15 quay CRON[2623]: pam_unix(cron:session): session opened for user root by "
    "(uid=0)",
    "Jan 21 17:39:16 quay polkitd[801]: Registered Authentication Agent for unix-session:1",
]

CLOUDTRAIL: list[dict[str, Any]] = [
    {
        "eventVersion": "1.09",
        "userIdentity": {
            "type": "IAMUser",
            "arn": "arn:aws:iam::111122223333:user/ana",
            "userName": "ana",
            "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
        },
        "eventTime": "2025-01-21T17:39:10Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "PutObject",
        "awsRegion": "eu-north-1",
        "sourceIPAddress": "203.0.113.9",
        "userAgent": "aws-cli/2.15",
        "requestParameters": {"bucketName": "berths", "key": "7.pdf", "password": "hunter2xyzzy"},
        "eventID": "4d482238-d0c5-4337-800f-d1ed79957fd4",
        "readOnly": False,
    },
]

JSONL: list[dict[str, Any]] = [
    {
        "action": "invoice.update",
        "actor": {"type": "user", "id": "7", "name": "Ana Lunde"},
        "targets": [{"type": "invoice", "id": "2026-1184"}],
        "changes": [{"path": "due_date", "old": "2026-03-01", "new": "2026-04-01"}],
        "occurred_at": "2026-03-15T11:00:00.250Z",
        "client": {"ip": "203.0.113.9"},
        "metadata": {"lines": 3},
    },
]

RECORDS: dict[str, list[dict[str, Any]]] = {
    "cloudtrail": CLOUDTRAIL,
    "github": GITHUB,
    "okta": OKTA,
    "kubernetes": KUBERNETES,
    "django-auditlog": DJANGO_AUDITLOG,
    "jsonl": JSONL,
}
LINES: dict[str, list[str]] = {"access-log": ACCESS_LOG, "auth-log": AUTH_LOG}
SECRETS = ("q8Zr5tYw1nUv", "hunter2xyzzy", "aHVudGVyMnh5enp5")
