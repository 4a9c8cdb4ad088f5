from django.urls import path

from book import views

urlpatterns = [path("", views.book, name="book"), path("entries/<int:number>", views.entry)]
