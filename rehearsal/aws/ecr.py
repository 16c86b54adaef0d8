"""ECR's second face, the registry protocol, joined to moto's first one, the API.

Layers never pass through here: the gateway asks `/authorize` about each request and streams to the registry.
Manifests do come here, by both faces, so that the API knows an image before its push returns, and a tag the
API sets is pulled at once. moto is the truth about images and tags; the registry keeps layers.
"""

import base64
import binascii
import copy
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import requests
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageNotFoundException
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.ecr.responses import ECRResponse
from werkzeug.wrappers import Request, Response

from .iam import ExpiredKeyError, refusal, repository_arn
from .mend import mends
from .settings import ACCOUNT, REGISTRY_DATA, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

TOKEN_LIFETIME = timedelta(hours=12)
ROUTE = re.compile(
    r"^/v2/(?P<repository>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags)(?:/(?P<reference>.*))?$"
)
AUTHORIZE = "/authorize"
"""Path of the gateway's question; X-Original-Method and X-Original-URI name the request it is about."""

# Which right each request of the registry protocol needs
ACTIONS = {
    ("manifests", "GET"): "ecr:BatchGetImage",
    ("manifests", "HEAD"): "ecr:BatchGetImage",
    ("manifests", "PUT"): "ecr:PutImage",
    ("blobs", "GET"): "ecr:GetDownloadUrlForLayer",
    ("blobs", "HEAD"): "ecr:BatchCheckLayerAvailability",
    ("blobs/uploads", "POST"): "ecr:InitiateLayerUpload",
    ("blobs/uploads", "GET"): "ecr:UploadLayerPart",
    ("blobs/uploads", "PATCH"): "ecr:UploadLayerPart",
    ("blobs/uploads", "PUT"): "ecr:CompleteLayerUpload",
    ("tags", "GET"): "ecr:ListImages",
}


@dataclass(frozen=True)
class Token:
    """Whom a registry password stands for."""

    key_id: str
    session_token: str | None
    region: str
    expires: datetime


class ApiError(ServiceException):
    """A refusal in the API's form: ECR's name for it, and a sentence."""


class RegistryError(Exception):
    """A refusal in the registry protocol's form."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> Response:
        """The answer a docker client shows to its user."""
        body = json.dumps({"errors": [{"code": self.code, "message": self.message}]})
        response = Response(body, self.status, content_type="application/json")
        if self.status is HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Basic realm="ecr"'
        return response


class Registry:
    """The registry protocol's side of ECR, a WSGI application in front of moto's."""

    def __init__(self, settings: Settings, aws: "WSGIApplication") -> None:
        self.aws = aws
        self.upstream = f"http://{settings.layout.registry}:5000"
        self.tokens: dict[str, Token] = {}

    def install(self) -> None:
        """Join moto's API to the registry."""

        @mends(ECRResponse, "get_authorization_token")
        def get_authorization_token(_original: object, response: ECRResponse) -> ActionResult:
            return self.issue(response)

        @mends(ECRBackend, "put_image")
        def put_image(
            _original: object,
            backend: ECRBackend,
            repository_name: str,
            image_manifest: str,
            image_tag: str | None,
            image_manifest_mediatype: str | None = None,
            digest: str | None = None,
        ) -> Image:
            repository = backend._get_repository(repository_name)
            return self.put(repository, image_manifest, image_tag, image_manifest_mediatype, digest)

        @mends(ECRBackend, "batch_get_image")
        def batch_get_image(
            _original: object,
            backend: ECRBackend,
            repository_name: str,
            registry_id: str | None = None,
            image_ids: list[dict[str, str]] | None = None,
        ) -> dict[str, list[Any]]:
            return _images_asked_for(backend._get_repository(repository_name, registry_id), image_ids or [])

        @mends(ECRBackend, "batch_check_layer_availability")
        def batch_check_layer_availability(
            _original: object,
            backend: ECRBackend,
            repository_name: str,
            layer_digests: list[str],
            registry_id: str | None = None,
        ) -> dict[str, list[Any]]:
            return self.layers(backend._get_repository(repository_name, registry_id), layer_digests)

        @mends(ECRBackend, "delete_repository")
        def delete_repository(
            original: Callable[..., Repository], backend: ECRBackend, *args: object, **kwargs: object
        ) -> Repository:
            repository = original(backend, *args, **kwargs)
            # Or the next repository of this name would find its layers pushed already
            shutil.rmtree(
                REGISTRY_DATA / "docker/registry/v2/repositories" / repository.name, ignore_errors=True
            )
            return repository

        @mends(Image, "get_image_size_in_bytes")
        def get_image_size_in_bytes(_original: object, image: Image) -> int | None:
            return _size(image)

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        """Answer the gateway's questions and requests for manifests; hand all else to moto."""
        path = environ.get("PATH_INFO", "")
        if path != AUTHORIZE and not path.startswith("/v2/"):
            return self.aws(environ, start_response)
        request = Request(environ)
        try:
            if path == AUTHORIZE:
                uri = request.headers["X-Original-URI"].split("?")[0]
                self._authorize(request, request.headers["X-Original-Method"], uri)
                response = Response(status=HTTPStatus.NO_CONTENT)
            else:
                response = self._answer(request)
        except RegistryError as error:
            response = error.response()
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return response(environ, start_response)

    def issue(self, response: ECRResponse) -> ActionResult:
        """A password for `docker login`, and where it is valid: the name this request came to decides."""
        key_id = response.get_access_key()
        token = secrets.token_urlsafe(64)
        expires = datetime.now(UTC) + TOKEN_LIFETIME
        session_token = response.headers.get("X-Amz-Security-Token")
        self.tokens[token] = Token(key_id, session_token, response.region, expires)
        host = response.headers["Host"]
        if host.endswith(".amazonaws.com"):
            endpoint = f"https://{ACCOUNT}.dkr.ecr.{response.region}.amazonaws.com"
        else:
            endpoint = f"http://{host}"
        data = {
            "authorizationToken": base64.b64encode(f"AWS:{token}".encode()).decode(),
            "expiresAt": expires,
            "proxyEndpoint": endpoint,
        }
        return ActionResult({"authorizationData": [data]})

    def put(
        self,
        repository: Repository,
        manifest: str,
        tag: str | None,
        media_type: str | None,
        digest: str | None,
    ) -> Image:
        """Take an image in and move the tag to it.

        Raises:
            ApiError: The manifest names layers that are not there, or the tag must not move.
        """
        content = manifest.encode()
        actual = "sha256:" + hashlib.sha256(content).hexdigest()
        if digest and digest != actual:
            raise ApiError("ImageDigestDoesNotMatchException", f"The digest is {actual}, not {digest}.")
        media_type = media_type or _media_type(manifest)
        images = repository.images
        image = next((known for known in images if known.image_digest == actual), None)
        holder = next((known for known in images if tag and tag in known.image_tags), None)
        if image and (image is holder or not tag):
            name = f"tag '{tag}'" if tag else f"digest '{actual}'"
            message = f"Image with {name} already exists in the repository with name '{repository.name}'"
            raise ApiError("ImageAlreadyExistsException", message)
        if holder and repository.is_tag_immutable():
            message = (
                f"The image tag '{tag}' already exists in the '{repository.name}' repository "
                "and cannot be overwritten because the tag is immutable."
            )
            raise ApiError("ImageTagAlreadyExistsException", message)
        if image is None:
            self._check(repository, actual, content, media_type)
            image = Image(ACCOUNT, "", manifest, repository.name, media_type, actual)
            image.image_tags = []
            _name(image, None)
            images.append(image)
        if holder and tag:
            holder.remove_tag(tag)
            _name(holder, holder.image_tags[-1] if holder.image_tags else None)
        if tag:
            image.update_tag(tag)
        return image

    def layers(self, repository: Repository, digests: list[str]) -> dict[str, list[Any]]:
        """Which layers the registry has, in the form of BatchCheckLayerAvailability."""
        layers, failures = [], []
        for digest in digests:
            found = requests.head(f"{self.upstream}/v2/{repository.name}/blobs/{digest}", timeout=60)
            if found.ok:
                size = int(found.headers["Content-Length"])
                layers.append({"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": size})
            else:
                failure = {
                    "failureCode": "MissingLayerDigest",
                    "failureReason": "The layer could not be found",
                }
                failures.append({"layerDigest": digest, **failure})
        return {"layers": layers, "failures": failures}

    def _answer(self, request: Request) -> Response:
        repository = self._authorize(request, request.method, request.path)
        if repository is None:
            return Response("{}", content_type="application/json")
        route = ROUTE.match(request.path)
        reference = route["reference"] if route else ""
        if request.path.endswith("/tags/list"):
            tags = sorted(tag for image in repository.images for tag in image.image_tags)
            return Response(
                json.dumps({"name": repository.name, "tags": tags}), content_type="application/json"
            )
        if request.method == "PUT":
            return self._push(request, repository, reference)
        by_digest = reference.startswith("sha256:")
        try:
            image = repository._get_image(None if by_digest else reference, reference if by_digest else None)
        except ImageNotFoundException as error:
            raise RegistryError(
                HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "Requested image not found"
            ) from error
        return _manifest(image, HTTPStatus.OK)

    def _push(self, request: Request, repository: Repository, reference: str) -> Response:
        by_digest = reference.startswith("sha256:")
        tag, digest = (None, reference) if by_digest else (reference, None)
        manifest = request.get_data(as_text=True)
        try:
            image = self.put(repository, manifest, tag, request.content_type, digest)
        except ApiError as error:
            if error.code == "ImageTagAlreadyExistsException":
                raise RegistryError(HTTPStatus.BAD_REQUEST, "TAG_INVALID", error.message) from error
            if error.code != "ImageAlreadyExistsException":  # to push what is there already is no error here
                raise RegistryError(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", error.message) from error
            actual = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
            image = repository._get_image(None, actual)
        answer = _manifest(image, HTTPStatus.CREATED)
        answer.headers["Location"] = f"/v2/{repository.name}/manifests/{image.image_digest}"
        answer.set_data(b"")
        return answer

    def _authorize(self, request: Request, method: str, path: str) -> Repository | None:
        """The repository a request is about, if it is allowed; None for the protocol's greeting."""
        token = self._token(request)
        if path.rstrip("/") == "/v2":
            return None
        route = ROUTE.match(path)
        action = ACTIONS.get((route["kind"], method)) if route else None
        if route is None or action is None:
            raise RegistryError(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "The operation is unsupported.")
        name = route["repository"]
        try:
            refused = refusal(token.key_id, token.session_token, action, repository_arn(token.region, name))
        except ExpiredKeyError as error:
            message = "Your authorization token has expired. Reauthenticate and try again."
            raise RegistryError(HTTPStatus.FORBIDDEN, "DENIED", message) from error
        if refused:
            raise RegistryError(HTTPStatus.FORBIDDEN, "DENIED", refused)
        repository = ecr_backends[ACCOUNT][token.region].repositories.get(name)
        if repository is None:
            message = f"The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'"
            raise RegistryError(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", message)
        return repository

    def _token(self, request: Request) -> Token:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
        token = self.tokens.get(password)
        if scheme.lower() != "basic" or user != "AWS" or token is None:
            raise RegistryError(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "Not Authorized")
        if token.expires < datetime.now(UTC):
            message = "Your authorization token has expired. Reauthenticate and try again."
            raise RegistryError(HTTPStatus.FORBIDDEN, "DENIED", message)
        return token

    def _check(self, repository: Repository, digest: str, content: bytes, media_type: str) -> None:
        """Let the registry look whether everything the manifest names is there."""
        url = f"{self.upstream}/v2/{repository.name}/manifests/{digest}"
        answer = requests.put(url, data=content, headers={"Content-Type": media_type}, timeout=60)
        if not answer.ok:
            raise ApiError("LayersNotFoundException", f"The registry refuses the manifest: {answer.text}")


def _media_type(manifest: str) -> str:
    try:
        media_type = json.loads(manifest).get("mediaType")
    except (ValueError, AttributeError) as error:
        message = "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'"
        raise ApiError("InvalidParameterException", message) from error
    if not media_type:
        message = "image manifest mediatype not provided in manifest or parameter"
        raise ApiError("InvalidParameterException", message)
    return str(media_type)


def _manifest(image: Image, status: HTTPStatus) -> Response:
    response = Response(image.image_manifest.encode(), status, content_type=image.image_manifest_media_type)
    response.headers["Docker-Content-Digest"] = image.image_digest
    return response


def _size(image: Image) -> int | None:
    """What the image takes up in the repository, in bytes: the sum of its compressed parts."""
    manifest = json.loads(image.image_manifest)
    if "layers" not in manifest:
        return None
    return int(manifest["config"]["size"]) + sum(int(layer["size"]) for layer in manifest["layers"])


def _images_asked_for(repository: Repository, image_ids: list[dict[str, str]]) -> dict[str, list[Any]]:
    """Each image under the tag it was asked for by; moto would name it by its newest."""
    images, failures = [], []
    for asked in image_ids:
        try:
            image = copy.copy(repository._get_image(asked.get("imageTag"), asked.get("imageDigest")))
        except ImageNotFoundException:
            failure = {"failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
            failures.append({"imageId": asked, **failure})
        else:
            _name(image, asked.get("imageTag"))
            images.append(image)
    return {"images": images, "failures": failures}


def _name(image: Image, tag: str | None) -> None:
    """The tag an answer calls the image by."""
    vars(image)["image_tag"] = tag
