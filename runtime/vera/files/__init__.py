"""Photographs and tables read; results written whole or not at all."""
