"""The protocol over HTTP, as Django REST framework views."""
