"""The pages, and the protocol for servers that do not know better.

Under ASGI the protocol's paths never come here: see asgi.py. Under WSGI they answer that the
switch needs an ASGI server.
"""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

urlpatterns = [
    path("", include("queues.urls")),
    path("", include("queues.api.urls")),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="api-docs"),
    path("admin/", admin.site.urls),
]
