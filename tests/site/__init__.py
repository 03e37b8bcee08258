"""The site that `make site` builds."""
